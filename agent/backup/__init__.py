"""Floor 3: copies of the journal on other media: sealed in a process of their own, verified, restored."""
