"""The composition root: builds every part once, hands rooms to each other, starts them, and stops them in order.

Bills of materials, to be read from top to bottom; they decide nothing about payments, devices or orders. These files
alone know all rooms, and with ``__main__.py`` they alone read the settings. ``process.py`` is the life of the process,
the others build one part of the house each.
"""

from agent.boot.process import start

__all__ = ["start"]
