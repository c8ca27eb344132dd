"""``posctl``: what people do with the agent. A client of its control socket; rendering apart from fetching."""
