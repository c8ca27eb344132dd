"""The writing connection: opened, migrated, used for one transaction after another, replaced when it is at fault.

Used by one thread at a time: the writer's, once it runs (``writer.py``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, cast

import structlog

from agent.runtime.clock import Clock
from agent.runtime.durable_files import sync_folder, write_again
from agent.store.schema import initialise
from agent.store.sqlite import (
    PAGE_BYTES,
    Connection,
    DatabaseError,
    cannot_open,
    connect_writer,
    is_connection_at_fault,
    reason,
    translate,
)

log = structlog.get_logger("store")

_UNITS_PER_COMMIT: Final = 4


class WriterHandle:
    """The writing connection; used by one thread at a time."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._db: Connection | None = None
        self._suspect = False
        self._changes_seen = 0
        self._units = 0.0  # commits and rows since the last checkpoint
        self._bytes_per_unit = 2.0 * PAGE_BYTES  # corrected by each checkpoint, which tells the WAL's real length

    def open(self, *, create: bool) -> None:
        """Open, migrate, and make it the connection to write on. Raises as `Database.open`."""
        db: Connection | None = None
        try:
            if create:
                _create_private(self._path)
            # What a process before this one, or the connection before, could not sync is in here and looks committed.
            write_again(self._path.with_name(f"{self._path.name}-wal"))
            db = connect_writer(self._path)
            initialise(db, self._clock.now())
        except (DatabaseError, OSError) as err:
            raise cannot_open(err) from err
        else:
            self._db, db = db, None
            self._suspect = False
            self._changes_seen = self._db.total_changes
        finally:
            if db is not None:
                db.close()

    def begin(self) -> Connection:
        if self._suspect:
            self.close()
        if self._db is None:
            self.open(create=False)
        db = cast("Connection", self._db)
        db.execute("BEGIN IMMEDIATE")
        return db

    def commit(self) -> None:
        if self._db is not None:
            self._db.execute("COMMIT")
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

    def translate(self, error: Exception) -> Exception:
        translated = translate(error)
        if isinstance(error, DatabaseError):
            log.error("store.write_failed", code=getattr(translated, "code", ""), reason=reason(error))
            if is_connection_at_fault(error):
                self._suspect = True  # a fresh connection reads everything again from the disk
        return translated

    @property
    def pending_bytes(self) -> float:
        """About how much of the WAL is not in the file yet."""
        return self._units * self._bytes_per_unit

    def checkpoint(self) -> None:
        if self._db is None or not self._units:
            return
        try:
            _busy, frames, copied = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except DatabaseError as err:  # a full disk, for one: the WAL keeps everything, and the next time comes
            log.warning("store.checkpoint_failed", reason=reason(err))
            self._units = 0.0
            return
        if frames == copied > 0:
            self._bytes_per_unit = min(max(frames * PAGE_BYTES / self._units, 512.0), 8.0 * PAGE_BYTES)
        self._units = 0.0

    def close(self) -> None:
        if self._db is None:
            return
        try:
            if not self._suspect:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except DatabaseError as err:
            log.warning("store.checkpoint_failed", reason=reason(err))
        self._db.close()
        self._db = None


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
