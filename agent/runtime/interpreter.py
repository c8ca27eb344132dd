"""The command line of another Python like this one: for children that are modules of the same release."""

from __future__ import annotations

import subprocess
import sys


def interpreter_command(module: str, *arguments: str) -> list[str]:
    """``python -m module arguments``, isolated and optimised as this process is, with the same folder of bytecode.

    Without that folder a child would compile everything it imports, each time: it must not write where bytecode is.
    """
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # -I, -OO, most of -X
    folder = [] if sys.pycache_prefix is None else ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    return [sys.executable, *flags, *folder, "-m", module, *arguments]
