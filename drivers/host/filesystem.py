"""Space and inodes of the file system below a path. Source: statvfs(3). Left out: wear, errors, mount options."""

from __future__ import annotations

import os
from pathlib import Path

from drivers.errors import HostSourceError
from drivers.host_contract import FilesystemReading


class FilesystemSource:
    """Percentages are what an unprivileged process sees, as ``df`` prints them: blocks kept for root are no help."""

    name = "filesystem"

    def __init__(self, watched: Path) -> None:
        self._path = str(watched)

    def read(self) -> FilesystemReading:
        try:
            found = os.statvfs(self._path)
        except OSError as err:
            raise HostSourceError(self.name, self._path, f"cannot be examined: {err.strerror}") from err
        if found.f_blocks == 0 or found.f_frsize == 0:
            raise HostSourceError(self.name, self._path, "lies on a file system without blocks")
        return FilesystemReading(
            path=self._path,
            total_bytes=found.f_blocks * found.f_frsize,
            available_bytes=found.f_bavail * found.f_frsize,
            used_pct=_used_pct(found.f_blocks - found.f_bfree, found.f_bavail),
            total_inodes=found.f_files,
            available_inodes=found.f_favail,
            used_inodes_pct=_used_pct(found.f_files - found.f_ffree, found.f_favail) if found.f_files else None,
            read_only=bool(found.f_flag & os.ST_RDONLY),
        )


def _used_pct(used: int, available: int) -> float:
    return 100.0 * used / (used + available) if used + available else 100.0
