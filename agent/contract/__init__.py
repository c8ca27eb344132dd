"""Floor 0: what crosses a wire, shared by the terminal, payment applications and the operator's side. Pure."""
