"""Whether a container can be booted on this machine, and what is missing where it cannot."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

PROGRAMS = ("systemd-nspawn", "mmdebstrap", "nsenter", "unshare")
DEBIAN = "bookworm"
PYTHON = (3, 11)
"""Of that Debian: compiled packages are taken from this interpreter's own environment."""


def what_is_missing() -> str | None:
    """In words; None when the lab can run."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "the lab boots containers: it must be root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} missing; `make lab` installs them"
    if sys.version_info[:2] != PYTHON:
        return f"the lab's Debian has Python {PYTHON[0]}.{PYTHON[1]}, this one is {sys.version.split()[0]}"
    if not any(Path("/etc/apt").glob("sources.list*")):
        return "no apt sources to build a root file system from"
    return None
