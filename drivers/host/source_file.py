"""Read small kernel files, with an error that names the file. Blocks as long as the file does: give it a thread.

A file that is read in every round stays open, at a half to a third of the price of opening it each time. One that was
replaced or removed is noticed (its link count is 0, or the kernel says ENODEV) and opened anew, so nothing is ever read
from its grave.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from drivers.errors import HostSourceError

_PROCFS_READ_BYTES: Final = 65_536  # /proc/stat of a large machine; one read, so that the numbers belong together
_TABLE_LIMIT_BYTES: Final = 1_048_576
_HALF_PAGE_BYTES: Final = 2_048
_SMALL_BYTES: Final = 4_096  # what one sysfs attribute may hold
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENODEV})


class SourceFile:
    """One file, kept open between readings. Used by one thread at a time."""

    __slots__ = ("_descriptor", "_is_kernels", "_limit_bytes", "_may_be_empty", "_source", "path")

    def __init__(
        self, path: str, source: str, *, limit_bytes: int = _PROCFS_READ_BYTES, may_be_empty: bool = False
    ) -> None:
        self.path = path
        self._source = source
        self._limit_bytes = limit_bytes
        self._may_be_empty = may_be_empty
        self._descriptor = -1
        self._is_kernels = False

    def read(self) -> bytes:
        """Content as of now; empty only where that has a meaning.

        Raises:
            HostSourceError: Missing, unreadable, or empty where it may not be; nothing stays open then.
        """
        content = b""
        try:
            if self._descriptor >= 0:
                content = self._read_again()
            if not content:
                self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
                content = os.read(self._descriptor, self._limit_bytes)
                # What the kernel makes up has no size of its own, and cannot be replaced while it exists.
                self._is_kernels = os.fstat(self._descriptor).st_size != len(content) < self._limit_bytes
        except OSError as err:
            self.close()
            raise HostSourceError(self._source, self.path, f"cannot be read: {err.strerror}") from err
        if not content and not self._may_be_empty:
            self.close()
            raise HostSourceError(self._source, self.path, "is empty")
        return content

    def read_whole(self) -> bytes:
        """A table of procfs as of now, all of it: the kernel hands it out page by page.

        Raises:
            HostSourceError: As `read`, or it is longer than 1 MiB.
        """
        content = piece = self.read()
        # The kernel fills a page before it makes one come back, and a line is far shorter than a half.
        while len(piece) >= _HALF_PAGE_BYTES:
            if len(content) > _TABLE_LIMIT_BYTES:
                raise HostSourceError(self._source, self.path, "is longer than 1 MiB")
            try:
                piece = os.pread(self._descriptor, self._limit_bytes, len(content))
            except OSError as err:
                self.close()
                raise HostSourceError(self._source, self.path, f"cannot be read: {err.strerror}") from err
            content += piece
        return content

    def close(self) -> None:
        """Let go of it; the next reading opens it again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    def _read_again(self) -> bytes:
        """From the open file; empty, and closed, when it is not the one at this path any more."""
        try:
            if self._is_kernels or os.fstat(self._descriptor).st_nlink:
                return os.pread(self._descriptor, self._limit_bytes, 0)
        except OSError as err:
            if err.errno not in _ABSENT:
                raise
        self.close()
        return b""


def read_source(path: str, source: str, *, may_be_empty: bool = False) -> bytes:
    """Content of ``path``, opened for this one reading; empty only where that has a meaning.

    Raises:
        HostSourceError: Missing, unreadable, or empty where it may not be.
    """
    return _read(path, source, _PROCFS_READ_BYTES, may_be_empty=may_be_empty)


def read_word(path: str, source: str) -> str | None:
    """The one line of a sysfs attribute; None where this device does not have it, or has nothing to say now.

    Raises:
        HostSourceError: Not permitted, or not text.
    """
    try:
        content = _read(path, source, _SMALL_BYTES)
    except HostSourceError as err:
        cause = err.__cause__
        if isinstance(cause, OSError) and cause.errno in {errno.EACCES, errno.EPERM, errno.EISDIR}:
            raise
        return None  # sysfs answers EINVAL, ENODATA, EAGAIN, EIO … where the device has no value at this moment
    try:
        return content.decode("ascii").strip()
    except UnicodeDecodeError as err:
        raise HostSourceError(source, path, "is not text") from err


def names_in(folder: str, source: str) -> list[str]:
    """Names of what is in a folder, sorted; none where the kernel has no such folder.

    Raises:
        HostSourceError: It cannot be listed.
    """
    try:
        return sorted(os.listdir(folder))  # names only, in one call
    except OSError as err:
        if err.errno in _ABSENT and err.errno != errno.ENOTDIR:
            return []
        raise HostSourceError(source, folder, f"cannot be listed: {err.strerror}") from err


def is_absent(err: HostSourceError) -> bool:
    """The file is not there at all, as opposed to broken."""
    return isinstance(err.__cause__, OSError) and err.__cause__.errno in _ABSENT


def _read(path: str, source: str, limit_bytes: int, *, may_be_empty: bool = False) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = os.read(descriptor, limit_bytes)
        finally:
            os.close(descriptor)
    except OSError as err:
        raise HostSourceError(source, path, f"cannot be read: {err.strerror}") from err
    if not content and not may_be_empty:
        raise HostSourceError(source, path, "is empty")
    return content
