"""The one SQLite file: how it is opened, who writes, who reads, what its errors mean. The only import of ``sqlite3``.

WAL with a flush per commit; one writing connection, which alone checkpoints (SQLite up to 3.51.2 can damage a file that
two connections checkpoint at the same instant). Readers are read-only and bounded in time, so that the WAL can be
emptied. What the tables mean is known to the rooms' own files, not here.
"""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import structlog
from msgspec import Struct

from agent.errors import StoreDamaged, StoreFull, StoreUnavailable
from agent.runtime.clock import Clock
from agent.runtime.durable_files import sync_folder
from agent.store.reader import Reader, ReadSession
from agent.store.schema import initialise
from agent.store.writer import BulkJob, GroupWriter, Task, Worth, WriterCounters

__all__ = ["Connection", "Database", "DatabaseMetrics", "Worth"]

log = structlog.get_logger("store")
T = TypeVar("T")

WAL_LIMIT_BYTES: Final = 8 * 1024 * 1024
_PAGE_BYTES: Final = 4096
_UNITS_PER_COMMIT: Final = 4
_BUSY_TIMEOUT_MS: Final = 2_000
_THREAD_STACK_BYTES: Final = 256 * 1024
_CONNECTION_AT_FAULT: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PROTOCOL,
    }
)


class Connection(sqlite3.Connection):
    """A connection of the store. ``kept`` is what jobs remember from one to the next; gone after any roll-back."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.kept: dict[str, Any] = {}


class DatabaseMetrics(Struct, frozen=True):
    """Figures since start, but for the last three, which are as of now."""

    commits: int
    jobs: int
    largest_group: int
    failed_groups: int
    checkpoints: int
    last_commit_s: float
    waiting: int
    wal_bytes: int


class Database:
    """The store's file with its writer thread and its reader thread."""

    def __init__(self, path: Path, clock: Clock, *, max_group: int = 256) -> None:
        """``max_group=1`` commits each job by itself."""
        self._path = path
        self._clock = clock
        self._max_group = max_group
        self._handle: _WriterHandle | None = None
        self._writer: GroupWriter | None = None
        self._reader: Reader | None = None
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._tell_commit: Callable[[], None] = lambda: None
        self._tell_trouble: Callable[[bool, str], None] = lambda _in_trouble, _detail: None
        self._in_trouble = False

    def open(self) -> None:
        """Create or open the file and bring its schema up to date. Blocking.

        Raises:
            StoreDamaged: It is no database of ours, it is damaged, or a newer release made it.
            StoreFull: No room to create or migrate it.
            StoreUnavailable: The file or its folder cannot be used now.
        """
        self._handle = _WriterHandle(self._path, self._clock)
        self._handle.open(create=True)

    def submit(self, job: Callable[[Connection], T], *, worth: Worth) -> asyncio.Future[T]:
        """Enqueue ``job`` before returning; the future has its outcome once that is durable.

        Args:
            job: Plain SQL inside a transaction that it shares with others; it must neither commit nor wait, and a
                repeat must be harmless. It returns outcomes and raises only for the unexpected.

        The future raises StoreFull or StoreUnavailable (nothing was stored), or what the job raised.
        """
        return cast("asyncio.Future[T]", self._put(job, None, worth, is_bulk=False))

    def submit_item(self, job: BulkJob, item: object, *, worth: Worth) -> asyncio.Future[Any]:
        """The same for one of many items of a kind: neighbours in the queue are given to ``job`` in one call."""
        return self._put(job, item, worth, is_bulk=True)

    async def write(self, job: Callable[[Connection], T], *, worth: Worth) -> T:
        """Do ``job`` and wait until it is durable; see `submit`."""
        return await self.submit(job, worth=worth)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run ``query`` on a read-only connection, in one read transaction of at most 2 s.

        Raises:
            StoreUnavailable: It took longer, or the file cannot be read now.
        """
        loop = asyncio.get_running_loop()
        if self._reader is None:
            if self._handle is None or self._closed:
                raise StoreUnavailable("the store is closed", hint="send it again after the start")
            session = ReadSession(self._connect_reader, _translate, self._clock)
            self._reader = Reader(session, loop)
            self._threads.append(_start(self._reader.run, "store-reader"))
        return await self._reader.submit(query)

    def after_commit(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called on the loop after each commit of more than transactions: the outbox may have grown."""
        self._tell_commit = tell

    def on_trouble(self, tell: Callable[[bool, str], None]) -> None:
        """Have ``tell(in_trouble, why)`` called on the loop when writing begins to fail, and when it works again."""
        self._tell_trouble = tell

    def writer_stalled(self) -> bool:
        """True when the writer thread has worked on one batch for longer than 20 s."""
        return self._writer is not None and self._writer.stalled

    async def close(self) -> None:
        """Finish what is queued, empty the WAL, close. Later submissions are refused."""
        self._closed = True
        for part in (self._reader, self._writer):
            if part is not None:
                part.close()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        if self._writer is None and self._handle is not None:
            self._handle.close()

    def metrics(self) -> DatabaseMetrics:
        """Figures for the metrics of the store."""
        counters = self._writer.counters if self._writer is not None else WriterCounters()
        return DatabaseMetrics(
            commits=counters.commits,
            jobs=counters.jobs,
            largest_group=counters.largest_group,
            failed_groups=counters.failed_groups,
            checkpoints=counters.checkpoints,
            last_commit_s=counters.last_commit_s,
            waiting=self._writer.waiting if self._writer is not None else 0,
            wal_bytes=_size(self._path.with_name(f"{self._path.name}-wal")),
        )

    def _connect_reader(self) -> Connection:
        db = _connect(f"{self._path.absolute().as_uri()}?mode=ro")
        db.execute("PRAGMA query_only = ON")
        db.execute("PRAGMA cache_size = -256")
        return db

    def _put(self, work: Callable[..., Any], item: object, worth: Worth, *, is_bulk: bool) -> asyncio.Future[Any]:
        writer = self._writer or self._start_writer()
        future: asyncio.Future[Any] = writer.loop.create_future()
        if self._closed:
            future.set_exception(StoreUnavailable("the store is closing", hint="send it again after the start"))
        else:
            writer.put(Task(work, item, worth, future, is_bulk=is_bulk))
        return future

    def _settled(self, group: list[Task]) -> None:
        failed = next((task.error for task in group if isinstance(task.error, StoreFull | StoreUnavailable)), None)
        if (failed is not None) != self._in_trouble:
            self._in_trouble = failed is not None
            self._tell_trouble(self._in_trouble, failed.message if failed is not None else "")
        if any(task.worth is not Worth.TRANSACTION and task.error is None for task in group):
            self._tell_commit()

    def _start_writer(self) -> GroupWriter:
        if self._handle is None:
            raise StoreUnavailable("the store is not open", hint="open it first")
        self._writer = GroupWriter(
            self._handle, asyncio.get_running_loop(), self._clock, self._max_group, self._settled
        )
        writer = self._writer
        if not self._closed:
            self._threads.append(_start(lambda: _run_or_end(writer.run), "store-writer"))
        return self._writer


class _WriterHandle:
    """The writing connection; used by one thread at a time."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._db: Connection | None = None
        self._suspect = False
        self._changes_seen = 0
        self._units = 0.0  # commits and rows since the last checkpoint
        self._bytes_per_unit = 2.0 * _PAGE_BYTES  # corrected by each checkpoint, which tells the WAL's real length

    def open(self, *, create: bool) -> None:
        """Open, migrate, and make it the connection to write on. Raises as `Database.open`."""
        db: Connection | None = None
        try:
            if create:
                _create_private(self._path)
            db = _connect(f"{self._path.absolute().as_uri()}?mode=rw")
            _set_pragmas(db)
            initialise(db, self._clock.now())
        except (sqlite3.Error, OSError) as err:
            raise _cannot_open(err) from err
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
        except sqlite3.Error:
            self._suspect = True

    def translate(self, error: Exception) -> Exception:
        translated = _translate(error)
        if isinstance(error, sqlite3.Error):
            log.error("store.write_failed", code=getattr(translated, "code", ""), reason=_reason(error))
            if _primary(error) in _CONNECTION_AT_FAULT:
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
        except sqlite3.Error as err:  # a full disk, for one: the WAL keeps everything, and the next time comes
            log.warning("store.checkpoint_failed", reason=_reason(err))
            self._units = 0.0
            return
        if frames == copied > 0:
            self._bytes_per_unit = min(max(frames * _PAGE_BYTES / self._units, 512.0), 8.0 * _PAGE_BYTES)
        self._units = 0.0

    def close(self) -> None:
        if self._db is None:
            return
        try:
            if not self._suspect:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as err:
            log.warning("store.checkpoint_failed", reason=_reason(err))
        self._db.close()
        self._db = None


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


def _translate(error: Exception) -> Exception:
    """What a caller can act on: full, unavailable; anything that is not SQLite's stays as it is."""
    if not isinstance(error, sqlite3.Error):
        return error
    if _primary(error) == sqlite3.SQLITE_FULL or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE:
        translated: StoreFull | StoreUnavailable = StoreFull(
            "the disk is full: nothing was stored", hint="free space below paths.state; then send it again"
        )
    elif _primary(error) == sqlite3.SQLITE_INTERRUPT:
        translated = StoreUnavailable("reading took longer than 2 s", hint="ask for less: a batch, a smaller limit")
    else:
        translated = StoreUnavailable(
            f"the store answered {_reason(error)}: nothing was stored", hint="look at the disk; then send it again"
        )
    translated.__cause__ = error
    return translated


def _cannot_open(err: Exception) -> StoreDamaged | StoreFull | StoreUnavailable:
    if isinstance(err, sqlite3.Error) and _primary(err) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamaged("the file is no usable database", hint="restore it from a backup; the file was left alone")
    if isinstance(err, OSError) and err.errno not in (errno.ENOSPC, errno.EDQUOT):
        return StoreUnavailable(f"the store cannot be opened: {err.strerror}", hint="check paths.state and its owner")
    translated = _translate(err) if isinstance(err, sqlite3.Error) else StoreFull("the disk is full", hint="free space")
    return translated if isinstance(translated, StoreFull | StoreUnavailable) else StoreUnavailable("cannot open")


def _primary(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 where Python's module raised by itself."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _reason(error: sqlite3.Error) -> str:
    """SQLite's name for it, such as ``SQLITE_IOERR_WRITE``; never its text, which may quote data."""
    return str(getattr(error, "sqlite_errorname", type(error).__name__))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _start(run: Callable[[], None], name: str) -> threading.Thread:
    """A daemon thread with a small stack: it must never keep a dying process alive."""
    before = threading.stack_size(_THREAD_STACK_BYTES)
    try:
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
    finally:
        threading.stack_size(before)
    return thread


def _run_or_end(run: Callable[[], None]) -> None:
    """Without its writer the agent can only hang: a thread that dies takes the process along, to be started again."""
    try:
        run()
    except BaseException as err:  # nothing is handled here: the process ends
        log.critical("store.writer_died", error=type(err).__name__, exc_info=err)
        os._exit(1)  # as SIGKILL would: what was acknowledged is on disk, nothing else was promised
