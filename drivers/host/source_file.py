"""Read one small kernel file in one go, with an error that names it.

Opened for each reading: about 3 µs dearer than a descriptor kept open, and a file that vanishes, comes back or is
replaced is never read from its grave.
"""

from __future__ import annotations

import os

from drivers.errors import HostSourceError

_PROCFS_READ_BYTES = 65_536  # /proc/stat of a large machine; one read, so that the numbers belong together


def read_source(path: str, source: str) -> bytes:
    """Content of ``path``, never empty. Blocks as long as the file does.

    Raises:
        HostSourceError: Missing, unreadable or empty.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = os.read(descriptor, _PROCFS_READ_BYTES)
        finally:
            os.close(descriptor)
    except OSError as err:
        raise HostSourceError(source, path, f"cannot be read: {err.strerror}") from err
    if not content:
        raise HostSourceError(source, path, "is empty")
    return content
