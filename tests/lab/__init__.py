"""The agent under a real systemd, in a booted container: ``make lab``. Needs root; see `tests.lab.conditions`."""
