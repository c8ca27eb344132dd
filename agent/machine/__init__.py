"""Floor 3: what is done to the machine below the agent, units and reboot, through one adapter with two makes."""
