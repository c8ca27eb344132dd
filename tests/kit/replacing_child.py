"""A process that replaces a damaged journal file and is killed on the way; tests choose where.

``python -m tests.kit.replacing_child FOLDER POINT``: opens the database of the folder and ends itself with SIGKILL at
the step of that number, counted from 1 over the whole procedure; exit code 0 when it came to its end before.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from agent.runtime.clock import SystemClock
from agent.store import replacement
from agent.store.database import Database

_UNTIL_KILLED = count(1)


def _step(at: int) -> None:
    if next(_UNTIL_KILLED) == at:
        os.kill(os.getpid(), signal.SIGKILL)


def _counted(real: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The same, with a step before and a step after it."""

    def do(*arguments: Any, **options: Any) -> Any:
        _step(at)
        result = real(*arguments, **options)
        _step(at)
        return result

    return do


def replace_and_die(folder: Path, at: int) -> None:
    """Every change of the folder by this process is a step."""
    for owner, name in (
        (replacement, "write_durably"),
        (replacement, "sync_folder"),
        (os, "replace"),
        (Path, "rename"),
        (Path, "unlink"),
        (Path, "touch"),
        (subprocess, "run"),
    ):
        setattr(owner, name, _counted(getattr(owner, name), at))
    database = Database(folder / "agent.db", SystemClock())
    database.open()
    os._exit(0)


if __name__ == "__main__":
    replace_and_die(Path(sys.argv[1]), int(sys.argv[2]))
