"""Which boot of the machine this is. Source: Linux ``random(4)``, ``/proc/sys/kernel/random/boot_id``."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

UNKNOWN_BOOT: Final = str(uuid.UUID(int=0))
"""What `read_boot_id` gives where the kernel does not say."""


def read_boot_id(procfs: Path) -> str:
    """The kernel's id of this boot, 36 characters; the nil UUID where the file cannot be read."""
    try:
        return str(uuid.UUID((procfs / "sys/kernel/random/boot_id").read_text().strip()))
    except (OSError, ValueError):
        return UNKNOWN_BOOT


def read_uptime_s(procfs: Path) -> float | None:
    """Seconds since the machine was started; None where the kernel does not say. Source: proc(5), ``/proc/uptime``."""
    try:
        return float((procfs / "uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
