"""The writing connection: opened, migrated, used for one transaction after another, replaced when it is at fault.

When the file itself is at fault it is set aside and a new one takes its place (``replacement.py``), before the next
transaction begins: whoever waits for that one only waits longer. Used by one thread at a time: the writer's, once it
runs (``writer.py``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import structlog

from agent.errors import StoreFull, StoreUnavailable
from agent.runtime.boot_identity import read_boot_id
from agent.runtime.clock import Clock
from agent.runtime.durable_files import sync_folder, write_again
from agent.store import meta
from agent.store.own_files import OwnFiles
from agent.store.replacement import Replacement, as_it_is
from agent.store.reserve import Reserve
from agent.store.schema import initialise
from agent.store.sqlite import (
    PAGE_BYTES,
    Connection,
    DatabaseError,
    cannot_open,
    connect_writer,
    is_connection_at_fault,
    is_damage,
    is_full,
    reason,
    translate,
)
from agent.store.tail_witness import TAIL, WITNESS_FILE, TailWitness, read_witness
from agent.store.transaction_append import journal_end

log = structlog.get_logger("store")

_UNITS_PER_COMMIT: Final = 4
_PROCFS: Final = Path("/proc")


class WriterHandle:
    """The writing connection; used by one thread at a time."""

    def __init__(
        self, path: Path, clock: Clock, reserve: Reserve, *, on_replaced: Callable[[bool], None] = lambda _done: None
    ) -> None:
        """``on_replaced(False)`` is called before a damaged file makes room, ``on_replaced(True)`` after."""
        self._path = path
        self._clock = clock
        self._reserve = reserve
        self._on_replaced = on_replaced
        boot_id = read_boot_id(_PROCFS)
        self._witness_file = path.with_name(WITNESS_FILE)
        self._witness = TailWitness(self._witness_file, boot_id)
        self._replacement = Replacement(path, self._witness_file, boot_id)
        self._files = OwnFiles(path)
        self._db: Connection | None = None
        self._journal_id = ""
        self._end: tuple[int, bytes] = (0, b"")
        self._suspect = False
        self._damage_seen = 0  # in a row
        self.condemned: str | None = None
        """Why the file must be replaced before anything more is written; may be set by any thread."""
        self.is_replacing = False
        self._changes_seen = 0
        self._units = 0.0  # commits and rows since the last checkpoint
        self._bytes_per_unit = 2.0 * PAGE_BYTES  # corrected by each checkpoint, which tells the WAL's real length

    def open(self, *, create: bool) -> None:
        """Open, migrate, and make it the connection to write on. Raises as `Database.open`.

        Args:
            create: At the start: a first file is made, and what a power cut left half replaced is finished.
        """
        if self.condemned is None:
            self.condemned = self._replacement.lost()
        if self.condemned is not None or self._replacement.is_decided:
            self._replace()
        try:
            self._open(create=create)
        except DatabaseError as err:
            if is_damage(err):
                self.condemned = f"the database cannot be opened: {reason(err)}"
                self._replace()
            elif not is_full(err) or not self._reserve.give_up():
                raise cannot_open(err) from err
            self._open_again()
        lost = self._lost_entries()
        if lost is not None:
            self.condemned = lost
            self._replace()
            self._open_again()

    def begin(self) -> Connection:
        """Raises DatabaseError, StoreFull, StoreUnavailable."""
        if self.condemned is None:
            self.condemned = self._files.trouble()
        if self.condemned is not None:
            self._replace()
        if self._suspect:
            self.close()
        if self._db is None:
            self.open(create=False)
        db = cast("Connection", self._db)
        db.execute("BEGIN IMMEDIATE")
        return db

    def commit(self) -> None:
        if self._db is None:
            return
        tail: tuple[int, bytes, int] | None = self._db.kept.get(TAIL)
        if tail is not None:
            self._witness.reserve(tail[0])
        self._db.execute("COMMIT")
        if tail is not None:
            self._witness.note(*tail[:2])
        self._damage_seen = 0
        self._files.left()
        changes = self._db.total_changes
        self._units += _UNITS_PER_COMMIT + changes - self._changes_seen
        self._changes_seen = changes

    def abandon(self) -> None:
        if self._db is None:
            return
        self._db.kept.clear()
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except DatabaseError:
            self._suspect = True

    def note(self, error: Exception) -> bool:
        """A transaction failed: make ready for doing its jobs again. True when that may go better."""
        gave_up = False
        if is_full(error) or (is_connection_at_fault(error) and self._reserve.is_disk_full):
            gave_up = self._reserve.give_up()
        if is_damage(error):
            self._damage_seen += 1
            if self._damage_seen > 1:  # a fresh connection, which read everything from the disk, says the same
                self.condemned = self.condemned or f"the database cannot be written: {reason(error)}"
        if is_connection_at_fault(error):
            self._suspect = True  # a fresh connection reads everything again from the disk
        return gave_up or (is_damage(error) and self.condemned is not None)

    def translate(self, error: Exception) -> Exception:
        """The error for the caller: full, unavailable, or the job's own."""
        translated = translate(error)
        if isinstance(error, DatabaseError):
            log.error("store.write_failed", code=getattr(translated, "code", ""), reason=reason(error))
        return translated

    @property
    def is_scarce(self) -> bool:
        """True while the reserve is given up: what is left is for transactions and runs."""
        return self._reserve.is_given_up

    @property
    def wants_room(self) -> bool:
        """True while the reserve is not held."""
        return self._reserve.is_wanted

    def look_for_room(self) -> None:
        """Take the reserve, or take it back, as soon as the disk has room for it."""
        self._reserve.take()

    @property
    def pending_bytes(self) -> float:
        """About how much of the WAL is not in the file yet."""
        return self._units * self._bytes_per_unit

    def checkpoint(self) -> None:
        """Copy the WAL into the file, as far as readers allow, unless it is not the one that was written."""
        if self._db is None or not self._units:
            return
        if self._files.trouble() is not None:
            self._units = 0.0
            return  # the next transaction begins with setting it aside
        try:
            _busy, frames, copied = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except DatabaseError as err:  # a full disk, for one: the WAL keeps everything, and the next time comes
            log.warning("store.checkpoint_failed", reason=reason(err))
            self.note(err)
            self._units = 0.0
            return
        self._files.left()
        if frames == copied > 0:
            self._bytes_per_unit = min(max(frames * PAGE_BYTES / self._units, 512.0), 8.0 * PAGE_BYTES)
        self._units = 0.0

    def close(self) -> None:
        if self._db is None:
            return
        trouble = self.condemned or self._files.trouble()
        try:
            if trouble is not None:
                self._replacement.decide(trouble, self._clock.now())  # the next start carries it out
                self._replacement.keep(self._files.displaced())
            elif not self._suspect:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except DatabaseError as err:
            log.warning("store.checkpoint_failed", reason=reason(err))
        except OSError as err:
            log.error("store.damage_not_noted", reason=err.strerror)
        self._disconnect(keep_as_it_is=trouble is not None or self._suspect)
        self._witness.close()

    # ── the file itself ────────────────────────────────────────────────────────────────────────────────────────
    def _open(self, *, create: bool) -> None:
        db: Connection | None = None
        try:
            if create:
                _create_private(self._path)
            # What a process before this one, or the connection before, could not sync is in here and looks committed.
            write_again(self._path.with_name(f"{self._path.name}-wal"))
            db = connect_writer(self._path)
            initialise(db, self._clock.now())
            end = journal_end(db)
            self._journal_id = meta.journal_id(db)
        except OSError as err:
            raise cannot_open(err) from err
        else:
            self._db, db = db, None
            self._end = end
            self._suspect = False
            self._changes_seen = self._db.total_changes
            self._files.forget()
            self._files.left()
        finally:
            if db is not None:
                with as_it_is(self._path):
                    db.close()

    def _open_again(self) -> None:
        try:
            self._open(create=False)
        except DatabaseError as err:
            raise cannot_open(err) from err

    def _lost_entries(self) -> str | None:
        """Entries that were there when they were acknowledged and are not now: a log that was cut or taken away."""
        told = read_witness(self._witness_file)
        if told is None or told.journal_id != self._journal_id or told.sequence <= self._end[0]:
            self._witness.begin(self._journal_id, *self._end)
            return None
        return f"entries after sequence {self._end[0]} are gone: {told.sequence} was the last one acknowledged"

    def _replace(self) -> None:
        """Set the file aside and have a new one in its place. Raises StoreFull, StoreUnavailable: tried again then."""
        self.is_replacing = True
        try:
            self._on_replaced(False)
            self._replacement.decide(self.condemned or "a replacement was cut off", self._clock.now())
            self._replacement.keep(self._files.displaced())
            self._disconnect(keep_as_it_is=True)
            self._witness.close()
            self._give_up_for(self._replacement.carry_out)
        except OSError as err:
            raise StoreUnavailable(
                f"the damaged file cannot be replaced: {err.strerror}", hint="look at the disk"
            ) from err
        else:
            self.condemned = None
            self._suspect = False
            self._damage_seen = 0
        finally:
            self.is_replacing = False
            self._on_replaced(True)

    def _give_up_for(self, work: Callable[[], None]) -> None:
        try:
            work()
        except StoreFull:
            if self._reserve.is_given_up:
                raise
            self._reserve.give_up()
            work()

    def _disconnect(self, *, keep_as_it_is: bool) -> None:
        if self._db is None:
            return
        if keep_as_it_is:
            with as_it_is(self._files.displaced().get("", self._path)):
                self._db.close()
        else:
            self._db.close()
        self._db = None
        self._files.forget()


def _create_private(path: Path) -> None:
    """Make sure that the file exists and that only the agent's user can read it; SQLite's other files follow suit."""
    existed = path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    if not existed:
        sync_folder(path.parent)
