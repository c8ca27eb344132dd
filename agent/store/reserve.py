"""Room kept for the records that matter most: a preallocated file that is given up when the disk is full.

While it is given up the file is there with no length, so that a restart knows. It is taken again when the disk has
twice its size free: the room that was given up does not count as room that returned.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger("store")

_SHARE_OF_FREE: Final = 4  # at most a quarter of what is free
_TIMES_FREE: Final = 2  # so much of its size must be free before it is taken again: what was given up alone is not
_SHARE_OF_DISK: Final = 2  # on a small disk half of it
_FULL_BYTES: Final = 256 * 1024  # less than this free: whatever the error was, the disk is full


class Reserve:
    """Used by the writer's thread alone, once it runs."""

    def __init__(self, path: Path, wanted_bytes: int) -> None:
        """``wanted_bytes``: 0 keeps none."""
        self._path = path
        self._wanted_bytes = wanted_bytes
        self.is_given_up = wanted_bytes > 0 and _size(path) == 0
        """True while records live on what was the reserve."""
        self._is_held = False

    @property
    def is_disk_full(self) -> bool:
        return _free(self._path.parent)[0] < _FULL_BYTES

    @property
    def is_wanted(self) -> bool:
        """True when it is not held, though it should be."""
        return self._wanted_bytes > 0 and not self._is_held

    def give_up(self) -> bool:
        """Give its room to the disk, at once; False when that was done already."""
        if not self._wanted_bytes or self.is_given_up:
            return False
        self.is_given_up = True
        self._is_held = False
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            os.close(descriptor)
        except OSError as err:
            log.error("store.reserve_not_given_up", reason=err.strerror)
            return False
        log.warning("store.reserve_given_up", hint="free space below paths.state; records go on as long as it lasts")
        return True

    def take(self) -> None:
        """Take it, if there is room; else nothing changes and later is tried again."""
        held = _size(self._path)
        free, total = _free(self._path.parent)
        if self.is_given_up and free < min(self._wanted_bytes * _TIMES_FREE, total // _SHARE_OF_DISK):
            return
        size = min(self._wanted_bytes, held if held > 0 else free // _SHARE_OF_FREE)
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(descriptor, min(size, max(held, 0)))  # a smaller one may be wanted than before
                os.posix_fallocate(descriptor, 0, max(size, 1))
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, 0)
                raise
            finally:
                os.close(descriptor)
        except OSError as err:
            log.warning("store.reserve_not_taken", reason=err.strerror)
            return
        self.is_given_up = False
        self._is_held = True
        log.info("store.reserve_taken", size_bytes=size)


def _size(path: Path) -> int:
    """-1: no such file."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _free(folder: Path) -> tuple[int, int]:
    """Bytes free for us, and of the whole file system."""
    try:
        room = os.statvfs(folder)
    except OSError:
        return 0, 0
    return room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
