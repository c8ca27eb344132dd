"""Are the files that are written to still those at their path, and whole? Two `stat` calls before a commit.

SQLite does not look again at what it has open: a deleted file would take records into nothing, a log cut short would be
copied into the file with zeros where its end was.
"""

from __future__ import annotations

import os
from pathlib import Path


class OwnFiles:
    """Remembers both files as they were left; used by the writer's thread."""

    def __init__(self, path: Path) -> None:
        self._path = os.fspath(path)
        self._wal = f"{self._path}-wal"
        self._inodes: tuple[int, int] = (0, 0)
        self._sizes: tuple[int, int] = (0, 0)

    def forget(self) -> None:
        """Nothing is open any more."""
        self._inodes = self._sizes = (0, 0)

    def left(self) -> None:
        """Remember them as they are now; the log begins to exist with the first commit."""
        try:
            database = os.stat(self._path)
            log = os.stat(self._wal)
        except OSError:
            return  # `trouble` says so, once they had been seen
        self._inodes = (database.st_ino, log.st_ino)
        self._sizes = (database.st_size, log.st_size)

    def trouble(self) -> str | None:
        """What happened to them since; None when nothing did."""
        if self._inodes == (0, 0):
            return None
        for path, inode, size, what in zip(
            (self._path, self._wal), self._inodes, self._sizes, ("database file", "write-ahead log"), strict=True
        ):
            try:
                now = os.stat(path)
            except FileNotFoundError:
                return f"the {what} was deleted while the agent ran"
            except OSError:
                continue
            if now.st_ino != inode:
                return f"the {what} was exchanged while the agent ran"
            if now.st_size < size:
                return f"the {what} was cut while the agent ran"
        return None
