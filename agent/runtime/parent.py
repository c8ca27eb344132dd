"""The child's side of `agent.runtime.child_process`: the job that it is to do, and its end when nobody waits any more.

Without asyncio, which such a child does not need: 3.5 MB of memory and a third of its start.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Final

_READ_BYTES: Final = 65536


def end_with_parent() -> None:
    """After the job was read: end at once, without a trace, when the parent is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, _READ_BYTES):
                pass
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def read_job() -> bytes:
    """The job, without the line's end."""
    parts = bytearray()
    while not parts.endswith(b"\n"):
        part = os.read(0, _READ_BYTES)
        if not part:
            break
        parts += part
    return bytes(parts).rstrip(b"\n")
