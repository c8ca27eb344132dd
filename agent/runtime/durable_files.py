"""Files that survive a power cut: temporary file, fsync, rename, fsync of the folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PIECE_BYTES: Final = 65536


def write_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace ``path`` with ``content``; after any crash the old or the new content is there, whole.

    Raises:
        OSError: Nothing was replaced; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Make a folder, and those above it, which outlive a power cut from the first moment; one that is there stays.

    Raises:
        OSError: It cannot be made, or something else has its name.
    """
    if not folder.is_dir():
        make_folder(folder.parent, 0o755)
        folder.mkdir(exist_ok=True, mode=mode)
        sync_folder(folder.parent)


def write_again(path: Path) -> None:
    """Make durable what reading this file gives, whatever happened to it before; nothing if there is no such file.

    After an fsync that failed Linux shows pages that are not on the disk and counts them as written: a later fsync
    does nothing for them. Only writing them again does. Source: fsync(2); PostgreSQL wiki, "Fsync Errors".

    Raises:
        OSError: It is not durable.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        offset = 0
        while piece := os.pread(descriptor, _PIECE_BYTES, offset):
            offset += os.pwrite(descriptor, piece, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the folder's own entries durable (a rename is not, until this returns)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
