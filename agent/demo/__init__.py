"""Floor 6: a whole terminal on one machine, for people who try the product and as its unattended proof.

Broker, printer, agent and payment application are real processes; everything lies below one folder, the broker
listens on loopback only. The development key made here is accepted by the agent started here and by no other.
"""
