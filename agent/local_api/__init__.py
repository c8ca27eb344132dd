"""Floor 5: the two unix sockets that payment applications and technicians talk to."""
