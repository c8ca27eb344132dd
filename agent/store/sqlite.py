"""The only import of ``sqlite3``: connections as the store wants them, and what SQLite's errors mean.

One writing connection exists in the whole machine (`connect_writer`): SQLite up to 3.51.2 can damage a file that two
connections checkpoint at the same instant. Everybody else, children and tools included, uses `open_readonly`.
"""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Any, Final

from agent.errors import StoreDamaged, StoreFull, StoreUnavailable

PAGE_BYTES: Final = 4096
WAL_LIMIT_BYTES: Final = 8 * 1024 * 1024
_BUSY_TIMEOUT_MS: Final = 2_000
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_CONNECTION_AT_FAULT: Final = frozenset(
    {
        *_DAMAGE,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PROTOCOL,
    }
)

DatabaseError = sqlite3.Error
"""For those who must catch it."""


class Connection(sqlite3.Connection):
    """A connection of the store. ``kept`` is what jobs remember from one to the next; gone after any roll-back."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.kept: dict[str, Any] = {}


def connect_writer(path: Path) -> Connection:
    """The one writing connection to a file that exists, set up for durable commits.

    Raises:
        DatabaseError: As SQLite says; nothing stays open.
        StoreUnavailable: The folder cannot hold a WAL database.
    """
    db = _connect(f"{path.absolute().as_uri()}?mode=rw")
    try:
        _set_pragmas(db)
    except BaseException:
        db.close()
        raise
    return db


def open_readonly(path: Path, *, cache_kib: int = 256) -> Connection:
    """A connection that can only read, in autocommit mode: begin a transaction for several reads of one state.

    For the reader thread, for children and tools; a read transaction should not last longer than 2 s, because the WAL
    cannot be emptied meanwhile. Waits up to 2 s for a lock.

    Raises:
        DatabaseError: There is no such file, or it cannot be read (some of it only shows at the first query).
    """
    db = _connect(f"{path.absolute().as_uri()}?mode=ro")
    try:
        db.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        db.execute("PRAGMA query_only = ON")
        db.execute(f"PRAGMA cache_size = -{cache_kib}")
    except BaseException:
        db.close()
        raise
    return db


def in_memory() -> Connection:
    """An empty database that is nowhere but in memory."""
    return _connect("file::memory:")


def connect_builder(path: Path) -> Connection:
    """A connection to a file that counts for nothing until its maker has closed and flushed it.

    No flushes and no log on disk: after a crash the file is thrown away, never opened.

    Raises:
        DatabaseError: As SQLite says; nothing stays open.
    """
    db = _connect(f"{path.absolute().as_uri()}?mode=rw")
    try:
        for pragma in (
            *("journal_mode = MEMORY", "synchronous = OFF", "cache_size = -16384", "mmap_size = 0"),
            *("temp_store = MEMORY", "foreign_keys = ON", "trusted_schema = OFF"),
        ):
            db.execute(f"PRAGMA {pragma}")
    except BaseException:
        db.close()
        raise
    return db


def _connect(uri: str) -> Connection:
    return sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, factory=Connection, cached_statements=256
    )


def _set_pragmas(db: Connection) -> None:
    db.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreUnavailable("the folder cannot hold a WAL database", hint="paths.state must be on a local disk")
    for pragma in (
        "synchronous = FULL",
        "wal_autocheckpoint = 0",
        f"journal_size_limit = {WAL_LIMIT_BYTES}",
        "cache_size = -256",
        "mmap_size = 0",
        "temp_store = MEMORY",
        "foreign_keys = ON",
        "trusted_schema = OFF",
    ):
        db.execute(f"PRAGMA {pragma}")


def translate(error: Exception) -> Exception:
    """What a caller can act on: full, unavailable; anything that is not SQLite's stays as it is."""
    if not isinstance(error, sqlite3.Error):
        return error
    if is_full(error):
        translated: StoreFull | StoreUnavailable = StoreFull(
            "the disk is full: nothing was stored", hint="free space below paths.state; then send it again"
        )
    elif _primary(error) == sqlite3.SQLITE_INTERRUPT:
        translated = StoreUnavailable("reading took longer than 2 s", hint="ask for less: a batch, a smaller limit")
    else:
        translated = StoreUnavailable(
            f"the store answered {reason(error)}: nothing was stored", hint="look at the disk; then send it again"
        )
    translated.__cause__ = error
    return translated


def cannot_open(err: Exception) -> StoreDamaged | StoreFull | StoreUnavailable:
    """What it means that a file could not be opened or migrated, for whoever starts the agent."""
    if is_damage(err):
        return StoreDamaged("the file is no usable database", hint="restore it from a backup; the file was left alone")
    if isinstance(err, OSError) and err.errno not in (errno.ENOSPC, errno.EDQUOT):
        return StoreUnavailable(f"the store cannot be opened: {err.strerror}", hint="check paths.state and its owner")
    translated = translate(err) if isinstance(err, sqlite3.Error) else StoreFull("the disk is full", hint="free space")
    return translated if isinstance(translated, StoreFull | StoreUnavailable) else StoreUnavailable("cannot open")


def is_damage(error: BaseException | None) -> bool:
    """True when SQLite found that the file's content is not what it wrote."""
    return isinstance(error, sqlite3.Error) and _primary(error) in _DAMAGE


def is_full(error: BaseException | None) -> bool:
    """True when the disk has no room; also where SQLite reports it as a failed write of its shared-memory file."""
    return isinstance(error, sqlite3.Error) and (
        _primary(error) == sqlite3.SQLITE_FULL or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE
    )


def is_connection_at_fault(error: BaseException | None) -> bool:
    """True when a fresh connection, which reads everything again from the disk, may do better."""
    return isinstance(error, sqlite3.Error) and _primary(error) in _CONNECTION_AT_FAULT


def reason(error: Exception) -> str:
    """SQLite's name for it, such as ``SQLITE_IOERR_WRITE``; never its text, which may quote data."""
    return str(getattr(error, "sqlite_errorname", type(error).__name__))


def _primary(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 where Python's module raised by itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
