"""One file per verb: its arguments, what it asks the agent, and what it prints. ``agent/ctl/catalog.py`` lists them."""
