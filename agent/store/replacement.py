"""A damaged file makes room: it is set aside as it is, and a new one stands in its place before anyone writes again.

Every step may be the last before a power cut. What was decided is written down first (``agent.db.replacing``); the next
start then finds how far it came by which files are there, and goes on: set aside (nothing is ever deleted or written
over), new file made beside, put in its place, note removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from agent.errors import StoreFull, StoreUnavailable
from agent.runtime.clock import rfc3339
from agent.runtime.durable_files import sync_folder, write_durably
from agent.runtime.interpreter import interpreter_command
from agent.store.sqlite import DatabaseError, open_readonly
from agent.store.tail_witness import read_witness

log = structlog.get_logger("store")

_PARTS: Final = ("", "-wal", "-shm")
_CHILD_LIMIT_S: Final = 1200.0  # 86 s were seen where every page of a million entries had to be looked at
_PENDING_BYTE: Final = 0x40000000
_SHARED_FIRST: Final = _PENDING_BYTE + 2
_SHARED_BYTES: Final = 510
_COPY_BYTES: Final = 1024 * 1024
_LEAST_ROOM_BYTES: Final = 1024 * 1024


class Decision(Struct, frozen=True):
    """``name``: what the damaged file is called from now on, beside its old place. ``found_at``: RFC 3339."""

    name: str
    reason: str
    found_at: str


class Replacement:
    """The procedure for one database file. Blocking; for the writer's thread, or before it runs."""

    def __init__(self, path: Path, witness: Path, boot_id: str) -> None:
        self._path = path
        self._witness = witness
        self._boot_id = boot_id
        self._note = path.with_name(f"{path.name}.replacing")
        self._new = path.with_name(f"{path.name}.new")

    def lost(self) -> str | None:
        """Why a file that is not there, or is empty, is one that was lost; None for a first start. Before opening."""
        wal = self._path.with_name(f"{self._path.name}-wal")
        if _size(self._path) > 0:
            if _has_tables(self._path) or read_witness(self._witness) is None:
                return None
            return "nothing of the database can be read, and the witness of its last entry is there"
        if _size(wal) > 0:
            return "the database file is gone or empty, and its write-ahead log is there"
        if read_witness(self._witness) is not None:
            return "the database file is gone or empty, and the witness of its last entry is there"
        return None

    def decide(self, reason: str, now: datetime) -> None:
        """Write down that the file is to be replaced; from here on every start goes on with it.

        Raises:
            OSError: It could not be written down; nothing was begun.
        """
        if not self._note.exists():
            write_durably(self._note, msgspec.json.encode(Decision(self._free_name(now), reason, rfc3339(now))))
        log.error("store.damaged", reason=reason, file=self._path.name)

    @property
    def is_decided(self) -> bool:
        return self._note.exists()

    def keep(self, displaced: Mapping[str, Path]) -> None:
        """What is open but no longer at its path, as `OwnFiles.displaced` tells, is written down to be set aside.

        Once it is written down it goes before whatever lies at the path, also when a later start carries it out.
        """
        aside = self._path.with_name(self._decision().name)
        for part, opened in displaced.items():
            with contextlib.suppress(OSError):  # without room for it the entries are gone, and named as missing
                _copy(opened, _kept(aside, part))
                sync_folder(aside.parent)

    def carry_out(self, *, crash_point: Callable[[str], None] = lambda _point: None) -> None:
        """Go on from wherever it stands. No connection of this process may be open to the file.

        Args:
            crash_point: Told the name of each step before it; for tests.

        Raises:
            StoreFull, StoreUnavailable: It could not be finished; calling it again goes on.
        """
        decision = self._decision()
        aside = self._path.with_name(decision.name)
        try:
            if not self._is_set_aside(aside):
                crash_point("set aside")
                self._set_aside(aside, crash_point)
            if not self._path.exists():
                crash_point("make")
                self._make(decision, aside)
                crash_point("put in place")
                os.replace(self._new, self._path)
                sync_folder(self._path.parent)
            crash_point("forget")
            self._note.unlink()
            sync_folder(self._path.parent)
        except OSError as err:
            raise StoreUnavailable(
                f"the damaged file cannot be replaced: {err.strerror}", hint="look at the disk; then send it again"
            ) from err
        log.warning("store.replaced", set_aside_as=decision.name)

    def _decision(self) -> Decision:
        try:
            return msgspec.json.decode(self._note.read_bytes(), type=Decision)
        except msgspec.MsgspecError as err:
            self._note.unlink(missing_ok=True)
            raise StoreUnavailable("the note about a damaged file cannot be read", hint="send it again") from err

    def _is_set_aside(self, aside: Path) -> bool:
        """By the file itself: its log and its index go after it, so while they wait, it is gone from its place."""
        if not aside.exists() or any(_kept(aside, part).exists() for part in _PARTS):
            return False
        return self._path.exists() or not any(_exists(self._path, part) for part in _PARTS)

    def _set_aside(self, aside: Path, crash_point: Callable[[str], None]) -> None:
        for part in _PARTS:
            source, target = _part(self._path, part), _part(aside, part)
            kept = _kept(aside, part)
            if kept.exists() and not target.exists():
                if source.exists():  # what somebody put there is set aside by itself
                    source.rename(_part(_exchanged(aside), part))
                    crash_point(f"exchanged{part}")
                kept.rename(target)
                crash_point(f"set aside{part}")
            elif source.exists() and not target.exists():
                source.rename(target)
                crash_point(f"set aside{part}")
        if not aside.exists():  # nothing was left to keep: an empty file says so, and that this was done
            aside.touch(mode=0o600)
        sync_folder(self._path.parent)

    def _make(self, decision: Decision, aside: Path) -> None:
        job = {
            "set_aside": str(aside),
            "new": str(self._new),
            "witness": str(self._witness),
            "boot_id": self._boot_id,
            "reason": decision.reason,
            "found_at": decision.found_at,
        }
        command = interpreter_command("agent.store.rebuild_begin")
        try:
            done = subprocess.run(
                command,
                input=msgspec.json.encode(job) + b"\n",
                stdout=subprocess.PIPE,
                timeout=_CHILD_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as err:
            raise StoreUnavailable("making a new file took too long", hint="look at the disk") from err
        if done.returncode != 0:
            room = os.statvfs(self._path.parent)
            if room.f_bavail * room.f_frsize < _LEAST_ROOM_BYTES:
                raise StoreFull("the disk is too full to begin a new file", hint="free space below paths.state")
            raise StoreUnavailable("no new file could be made", hint="see the log; then send it again")

    def _free_name(self, now: datetime) -> str:
        stem = f"{self._path.name}.damaged-{now:%Y%m%dT%H%M%SZ}"
        names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, 10_000))
        return next(name for name in names if not any(_exists(self._path.with_name(name), part) for part in _PARTS))


@contextlib.contextmanager
def as_it_is(path: Path) -> Iterator[None]:
    """Within the block, closing the last connection leaves file and WAL as they are; else SQLite empties the WAL.

    It does so only when it alone has the file; a shared lock held by another descriptor (an open-file-description lock,
    which counts against the same process, too) keeps it from that. Source: sqlite.org "File Locking And Concurrency".
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    lock = struct.pack("hhqqi0q", fcntl.F_RDLCK, os.SEEK_SET, _SHARED_FIRST, _SHARED_BYTES, 0)
    try:
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
        yield
    finally:
        os.close(descriptor)


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(f"{target.name}.part")
    try:
        with source.open("rb", buffering=0) as old, partial.open("wb", buffering=0) as new:
            old.seek(0)
            while piece := old.read(_COPY_BYTES):
                new.write(piece)
            os.fsync(new.fileno())
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)


def _has_tables(path: Path) -> bool:
    """False only for a database without any: one whose beginning was in a log that is gone or spoilt."""
    try:
        with contextlib.closing(open_readonly(path)) as db:
            return bool(db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    except DatabaseError:
        return True  # opening it says what is wrong


def _kept(aside: Path, part: str) -> Path:
    return aside.with_name(f"{aside.name}.kept{part}")


def _exchanged(aside: Path) -> Path:
    return aside.with_name(f"{aside.name}.exchanged")


def _part(path: Path, part: str) -> Path:
    return path.with_name(f"{path.name}{part}")


def _exists(path: Path, part: str) -> bool:
    return _part(path, part).exists()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
