"""Floor 1: how a process lives. Knows nothing of payments, devices or orders."""
