"""Are the files that are written to still those at their path, and whole? Two `stat` calls before a commit.

SQLite does not look again at what it has open: a deleted file would take records into nothing, a log cut short would be
copied into the file with zeros where its end was.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_OPENED: Final = "/proc/self/fd"


class OwnFiles:
    """Remembers both files as they were left; used by the writer's thread."""

    def __init__(self, path: Path) -> None:
        self._path = os.fspath(path)
        self._wal = f"{self._path}-wal"
        self._inodes: tuple[int, int] = (0, 0)
        self._sizes: tuple[int, int] = (0, 0)
        self._device = 0

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
        self._device = database.st_dev
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

    def displaced(self) -> dict[str, Path]:
        """What is open but no longer at its path: ``""`` or ``-wal`` → where it can be opened again as long as it is.

        It was deleted or moved, or another file was put in its place: what it holds can still be read.
        """
        found: dict[str, Path] = {}
        for ending, inode in zip(("", "-wal"), self._inodes, strict=True):
            if inode and _identity(f"{self._path}{ending}")[1] != inode:
                found.update((ending, Path(one)) for one in self._opened(inode))
        return found

    def _opened(self, inode: int) -> list[str]:
        wanted = (self._device, inode)
        return [entry.path for entry in os.scandir(_OPENED) if _identity(entry.path) == wanted][:1]


def _identity(path: str) -> tuple[int, int]:
    """Device and inode; zeros where there is nothing."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino
