"""A place for backups, as the child uses it; and the folder, which is one. Servers are in ``server_target.py``.

A file is written under a name that counts for nothing, made durable, and only then given its own name. A folder is held
by its descriptor from the check of the medium on, so that nothing goes into an empty mount point when the medium is
pulled out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, Final, NamedTuple, Protocol

from agent.backup.file_names import is_in_work, name_in_work
from agent.backup.job import FolderPlace
from agent.contract.backup_views import BackupKind
from agent.errors import TargetUnusable

_READ_BYTES: Final = 256 * 1024
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_FILE_FLAGS: Final = (
    os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
)  # a pipe of that name is waited for never


class Measure(NamedTuple):
    """What a file at the target is: its size, and the SHA-256 of its bytes, 64 hexadecimal digits."""

    size_bytes: int
    sha256: str


class Target(Protocol):
    """``file`` is always the name below the target: ``<site>/<terminal>/<journal_id>/<name>``.

    Every method raises TargetUnusable or OSError when the place cannot be used.
    """

    def writing(self, folder: str, kind: BackupKind, token: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """A file in work for ``folder``; one that was not kept when the block is left is gone, as are older ones."""
        ...

    def keep(self, work: IO[bytes], file: str, measure: Measure) -> None:
        """The file in work, complete and flushed, is ``file`` from now on, durably."""
        ...

    def confirm(self, file: str, measure: Measure) -> None:
        """It was read back and is right: whoever restores from here shall find it."""
        ...

    def measure(self, file: str) -> Measure | None:
        """Read it from the medium, not from memory; None when there is no such file."""
        ...

    def remove(self, file: str) -> None:
        """Remove it; one that is not there is removed already."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names of the files in ``folder``."""
        ...

    def close(self) -> None: ...


class FolderTarget:
    """A folder, on another medium if ``device`` says which."""

    def __init__(self, place: FolderPlace, mountinfo: Path = Path("/proc/self/mountinfo")) -> None:
        """Raises TargetUnusable: it is not there, or something else is mounted there."""
        try:
            self._root = os.open(place.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as err:
            raise TargetUnusable(
                f"{place.path}: {err.strerror}", hint=f"make the folder, or mount {place.name}"
            ) from err
        if place.device is not None and not _is_mounted(self._root, place.device, mountinfo):
            os.close(self._root)
            raise TargetUnusable(
                f"{place.path} is not on {place.device}: the medium is not there, or not mounted",
                hint="put the medium back and mount it; nothing was written meanwhile",
            )

    @contextlib.contextmanager
    def writing(self, folder: str, kind: BackupKind, token: str) -> Iterator[IO[bytes]]:
        with self._folder(folder, make=True) as inside:
            for name in os.listdir(inside):
                if is_in_work(name):
                    os.unlink(name, dir_fd=inside)
            name = name_in_work(kind, token)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            with open(os.open(name, flags, 0o600, dir_fd=inside), "w+b") as work:
                self._work = name
                try:
                    yield work
                finally:
                    with contextlib.suppress(OSError):
                        os.unlink(name, dir_fd=inside)

    def keep(self, work: IO[bytes], file: str, measure: Measure) -> None:
        work.flush()
        os.fsync(work.fileno())
        folder, _, name = file.rpartition("/")
        with self._folder(folder) as inside:
            os.rename(self._work, name, src_dir_fd=inside, dst_dir_fd=inside)
            _sync(inside)

    def confirm(self, file: str, measure: Measure) -> None:
        """Its name in the folder says it all."""

    def measure(self, file: str) -> Measure | None:
        folder, _, name = file.rpartition("/")
        try:
            with self._folder(folder) as inside:
                descriptor = os.open(name, _FILE_FLAGS, dir_fd=inside)
        except FileNotFoundError:
            return None
        digest, size = sha256(), 0
        with open(descriptor, "rb", buffering=0) as content:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            while part := content.read(_READ_BYTES):
                digest.update(part)
                size += len(part)
        return Measure(size, digest.hexdigest())

    def remove(self, file: str) -> None:
        folder, _, name = file.rpartition("/")
        with contextlib.suppress(FileNotFoundError), self._folder(folder) as inside:
            os.unlink(name, dir_fd=inside)
            _sync(inside)

    def names(self, folder: str) -> list[str]:
        try:
            with self._folder(folder) as inside:
                return sorted(os.listdir(inside))
        except FileNotFoundError:
            return []

    def close(self) -> None:
        os.close(self._root)

    @contextlib.contextmanager
    def _folder(self, folder: str, *, make: bool = False) -> Iterator[int]:
        """The descriptor of a folder below the root; no link leads out of it."""
        inside = os.dup(self._root)
        try:
            for name in folder.split("/"):
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=inside)
                        _sync(inside)
                below = os.open(name, _FOLDER_FLAGS, dir_fd=inside)
                os.close(inside)
                inside = below
            yield inside
        finally:
            os.close(inside)


def _is_mounted(root: int, device: str, mountinfo: Path) -> bool:
    """Whether the open folder lies on ``device``: by its number, or where the mount names the device as its source."""
    try:
        wanted = os.stat(device)
    except OSError:
        return False  # the link by path is gone with the medium
    here = os.fstat(root).st_dev
    if stat.S_ISBLK(wanted.st_mode) and wanted.st_rdev == here:
        return True
    number = f"{os.major(here)}:{os.minor(here)}"
    real = os.path.realpath(device)
    for line in mountinfo.read_text().splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if fields[2] == number and len(rest) > 1 and os.path.realpath(_unescaped(rest[1])) == real:
            return True
    return False


def _unescaped(word: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(code, character)
    return word


def _sync(folder: int) -> None:
    """Make the folder's own entries durable; a file system that cannot do that for folders alone says EINVAL."""
    try:
        os.fsync(folder)
    except OSError as err:
        if err.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
