"""Floor 4: what may be ordered, and how an order comes in. One file per command; ``catalog.py`` lists them."""
