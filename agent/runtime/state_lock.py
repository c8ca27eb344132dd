"""One process at a time works on a state folder. Source: ``flock(2)``; the lock dies with its process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from agent.errors import StateLocked


class StateLock:
    """Held from `take` to the end of the process or `release`."""

    def __init__(self, state: Path) -> None:
        self._path = state / "lock"
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the lock.

        Raises:
            StateLocked: Another process holds it; the message names its process id.
            OSError: The folder cannot be written.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise StateLocked(
                f"{self._path} is held by process {holder}",
                hint="Stop the other pos-agent, or give this one another [paths] state.",
            ) from err
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
