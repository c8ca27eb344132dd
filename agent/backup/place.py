"""A folder with backup files as whoever restores sees it: whose they are, and one of them opened with a private key."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from agent.backup.age import present
from agent.backup.file_format import Header, Part, read_compressed
from agent.backup.file_names import parse_name
from agent.backup.restore_plan import Piece
from agent.errors import BackupUnusable, NotFound

_JOURNAL_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def terminals_in(place: Path) -> list[tuple[str, str]]:
    """Site and terminal of everything that has a backup there, in order.

    Raises:
        NotFound: There is no such folder, or it cannot be read.
    """
    return sorted(
        (site.name, terminal.name)
        for site in _folders(place)
        for terminal in _folders(site)
        if any(_JOURNAL_ID.fullmatch(one.name) for one in _folders(terminal))
    )


def pieces_of(place: Path, site: str, terminal: str) -> list[Piece]:
    """Every backup file of one terminal by its name; other files are passed over.

    Raises:
        NotFound: There is no such folder, or it cannot be read.
    """
    below = place / site / terminal
    if not _is_folder(below):
        _folders(place)  # raises where the place itself is the trouble
        return []
    found: list[Piece] = []
    for journal in _folders(below):
        if _JOURNAL_ID.fullmatch(journal.name):
            for one in _inside(journal):
                if (says := parse_name(one.name)) is not None:
                    found.append(Piece(journal.name, str(one.relative_to(place)), says))
    return sorted(found, key=lambda one: one.file)


@contextlib.contextmanager
def decrypted(place: Path, piece: Piece, identities: Sequence[str]) -> Iterator[IO[bytes]]:
    """The compressed content of a backup file; nothing but reading may raise OSError in the block.

    Raises:
        BackupUnusable: It cannot be read or decrypted.
    """
    try:
        with (
            open(place / piece.file, "rb", opener=_plain_file) as source,
            present().decrypting(source, identities) as plain,
        ):
            yield plain
    except OSError as err:
        raise BackupUnusable(f"it cannot be read: {os.strerror(err.errno or 0)}", hint="look at the medium") from err


@contextlib.contextmanager
def opened(place: Path, piece: Piece, identities: Sequence[str]) -> Iterator[tuple[Header, Iterator[Part]]]:
    """A backup file's header, held against its name, and what follows, read and proved as it is asked for.

    Raises:
        BackupUnusable: It cannot be read or decrypted, is altered, cut short, or not what its name says.
    """
    with decrypted(place, piece, identities) as plain:
        parts = read_compressed(plain)
        yield checked(next(parts), piece), parts


def checked(header: Part, piece: Piece) -> Header:
    """A file's header, if it says what its name and its folder say.

    Raises:
        BackupUnusable: It does not.
    """
    *_, site, terminal, journal_id, _name = ("", "", *Path(piece.file).parts)
    if not isinstance(header, Header):
        raise BackupUnusable("it does not begin with a header", hint="use another file")
    named = (site, terminal, journal_id, piece.says.kind, piece.says.from_seq, piece.says.upto_seq)
    said = (header.site, header.terminal, header.journal_id, header.kind, header.from_seq, header.upto_seq)
    if named != said:
        raise BackupUnusable(
            "it is not what its name and its folder say",
            hint=f"it belongs at {header.site}/{header.terminal}/{header.journal_id}, {header.kind} of entries"
            f" {header.from_seq} to {header.upto_seq}",
        )
    return header


def _plain_file(path: str, flags: int) -> int:
    """No pipe or device that somebody gave a backup's name: the one is waited for, the other read, for ever."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return descriptor


def _folders(place: Path) -> list[Path]:
    return sorted(one for one in _inside(place) if _is_folder(one))


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as err:
        raise _cannot_look(folder, err) from err


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as err:  # only of what it may not look at; what is not there is no folder
        raise _cannot_look(path, err) from err


def _cannot_look(path: Path, err: OSError) -> NotFound:
    hint = "name a folder that holds backups"
    if isinstance(err, PermissionError):
        hint = (
            f"user number {os.geteuid()} reads it: chmod -R a+rX on the folder that was named; its files are encrypted"
        )
    return NotFound(f"cannot look into {path}: {err.strerror}", hint=hint)
