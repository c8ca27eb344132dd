"""Floor 6: a small process supervisor for the demo, for tests and for integrators on a machine without systemd.

It keeps its own children below its own folder and nothing else: it knows no service of the machine it runs on, and its
"reboot" ends and starts those children and writes another boot id into an emulated procfs. Never for a terminal.
"""
