"""Which boot of the machine this is. Source: Linux ``random(4)``, ``/proc/sys/kernel/random/boot_id``."""

from __future__ import annotations

import uuid
from pathlib import Path


def read_boot_id(procfs: Path) -> str:
    """The kernel's id of this boot, 36 characters; the nil UUID where the file cannot be read."""
    try:
        return str(uuid.UUID((procfs / "sys/kernel/random/boot_id").read_text().strip()))
    except (OSError, ValueError):
        return str(uuid.UUID(int=0))
