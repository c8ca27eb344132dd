"""Floor 5: what payment applications take with them. Standard library only; nothing of the agent is needed."""
