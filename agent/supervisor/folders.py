"""Writing and emptying below one folder, and nowhere else: no symbolic link on the way is ever followed.

Every step is taken from the descriptor of the folder above it (``openat(2)`` with ``O_NOFOLLOW``), so that a link put
in the way, at whatever moment, is refused and not followed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from agent.errors import Refused

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def opened(root: Path, relative: str, *, make: bool = False) -> Iterator[int]:
    """The descriptor of ``root/relative`` for the length of a ``with``.

    Args:
        make: Folders that are missing are made (0700).

    Raises:
        Refused: It leaves ``root``, or something on the way is no folder or a symbolic link.
        FileNotFoundError: It is not there.
    """
    parts = PurePosixPath(relative).parts
    if not parts or parts[0] == "/" or ".." in parts:
        raise Refused(f"{relative!r} is not below the supervisor's folder")
    folder = os.open(root, _FOLDER)
    try:
        for part in parts:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=folder)
            try:
                inner = os.open(part, _FOLDER, dir_fd=folder)
            except (NotADirectoryError, OSError) as err:
                if isinstance(err, FileNotFoundError):
                    raise
                raise Refused(f"{part!r} in {relative!r} is no folder of its own: {err.strerror}") from err
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def empty(root: Path, relative: str) -> int:
    """Remove everything inside ``root/relative``, not the folder itself; how many entries it held.

    A symbolic link inside is removed, what it points to is not touched. A folder that is not there is empty.

    Raises:
        Refused: As `opened`.
        OSError: Something could not be removed.
    """
    try:
        with opened(root, relative) as folder:
            names = os.listdir(folder)
            for name in names:
                if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    shutil.rmtree(name, dir_fd=folder)
                else:
                    os.unlink(name, dir_fd=folder)
            return len(names)
    except FileNotFoundError:
        return 0


def write(root: Path, relative: str, content: bytes) -> None:
    """Replace the file ``root/relative`` (0644), making the folders above it.

    Raises:
        Refused: As `opened`.
        OSError: It was not replaced.
    """
    path = PurePosixPath(relative)
    if len(path.parts) < 2:
        raise Refused(f"{relative!r} must lie in a folder of its own below the supervisor's")
    with opened(root, str(path.parent), make=True) as folder:
        temporary = f".{path.name}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o644, dir_fd=folder)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
