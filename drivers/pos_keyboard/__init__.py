"""Keypads: their presence from sysfs, and a confined process of its own that counts without telling keys."""
