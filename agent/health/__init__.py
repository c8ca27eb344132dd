"""Floor 4: how the terminal is. Probes give samples, pure rules make states and faults of them, readiness follows."""
