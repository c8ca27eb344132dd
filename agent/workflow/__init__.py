"""Floor 3: runs that survive a power cut and end exactly once. Knows no command."""
