"""The one SQLite file and the two threads that work on it: who writes, who reads.

WAL with a flush per commit; one writing connection, which alone checkpoints (SQLite up to 3.51.2 can damage a file that
two connections checkpoint at the same instant). Readers are read-only and bounded in time, so that the WAL can be
emptied. What SQLite's errors mean is in ``sqlite.py``, what the tables mean is known to the rooms' own files.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import structlog
from msgspec import Struct

from agent.errors import StoreFull, StoreUnavailable
from agent.runtime.clock import Clock
from agent.store.reader import Reader, ReadSession
from agent.store.reserve import Reserve
from agent.store.sqlite import Connection, is_damage, open_readonly, translate
from agent.store.writer import BulkJob, GroupWriter, Task, Worth, WriterCounters
from agent.store.writer_handle import WriterHandle

__all__ = ["Connection", "Database", "DatabaseMetrics", "Worth"]

log = structlog.get_logger("store")
T = TypeVar("T")

_THREAD_STACK_BYTES: Final = 256 * 1024


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

    def __init__(self, path: Path, clock: Clock, *, max_group: int = 256, reserve_bytes: int = 0) -> None:
        """``max_group=1`` commits each job by itself. ``reserve_bytes``: kept free for the records that matter most."""
        self._path = path
        self._clock = clock
        self._max_group = max_group
        self._reserve = Reserve(path.with_name("reserve"), reserve_bytes)
        self._handle: WriterHandle | None = None
        self._session: ReadSession | None = None
        self._writer: GroupWriter | None = None
        self._reader: Reader | None = None
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._tell_commit: list[Callable[[], None]] = []
        self._tell_transactions: list[Callable[[], None]] = []
        self._tell_trouble: Callable[[bool, str], None] = lambda _in_trouble, _detail: None
        self._in_trouble = False
        self._tell_scarce: Callable[[bool], None] = lambda _is_scarce: None
        self._was_scarce = False
        self._tell_replaced: Callable[[], None] = lambda: None
        self._tell_suspicion: Callable[[], None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.exchanges = 0
        """How often a damaged file was replaced, since this was opened."""

    @property
    def path(self) -> Path:
        """The file, for children and tools that read it."""
        return self._path

    def open(self) -> None:
        """Create or open the file and bring its schema up to date; a damaged one is replaced. Blocking.

        Raises:
            StoreDamaged: It is another program's, or a newer release made it.
            StoreFull: No room to create or migrate it.
            StoreUnavailable: The file or its folder cannot be used now.
        """
        self._handle = WriterHandle(self._path, self._clock, self._reserve, on_replaced=self._replaced)
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
            self._session = ReadSession(partial(open_readonly, self._path), self._translate_read, self._clock)
            self._reader = Reader(self._session, loop)
            self._threads.append(_start(self._reader.run, "store-reader"))
        return await self._reader.submit(query)

    def after_commit(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called on the loop after each commit of more than transactions; several may be told."""
        self._tell_commit.append(tell)

    def after_transactions(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called on the loop after each commit with transactions in it; several may be told."""
        self._tell_transactions.append(tell)

    def on_trouble(self, tell: Callable[[bool, str], None]) -> None:
        """Have ``tell(in_trouble, why)`` called on the loop when writing begins to fail, and when it works again."""
        self._tell_trouble = tell

    def on_scarce(self, tell: Callable[[bool], None]) -> None:
        """Have ``tell`` called on the loop when records begin to live on the reserve, and when it is held again."""
        self._tell_scarce = tell

    def on_replaced(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called on the loop after a damaged file was replaced; what is under way is in the new one."""
        self._tell_replaced = tell

    def on_suspicion(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called on the loop when a read met damage: the file should be looked at."""
        self._tell_suspicion = tell

    async def replace(self, why: str) -> None:
        """The file is damaged, as a check found: have it set aside and go on with a new one.

        Raises:
            StoreFull, StoreUnavailable: That could not be done; each later write tries again.
        """
        if self._handle is None:
            raise StoreUnavailable("the store is not open", hint="open it first")
        self._handle.condemned = why
        await self.write(lambda _db: None, worth=Worth.TRANSACTION)

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

    def _put(self, work: Callable[..., Any], item: object, worth: Worth, *, is_bulk: bool) -> asyncio.Future[Any]:
        writer = self._writer or self._start_writer()
        future: asyncio.Future[Any] = writer.loop.create_future()
        if self._closed:
            future.set_exception(StoreUnavailable("the store is closing", hint="send it again after the start"))
        else:
            writer.put(Task(work, item, worth, future, is_bulk=is_bulk))
        return future

    def _settled(self, group: list[Task]) -> None:
        tried = [task for task in group if not task.is_spared]
        failed = next((task.error for task in tried if isinstance(task.error, StoreFull | StoreUnavailable)), None)
        if tried and (failed is not None) != self._in_trouble:
            self._in_trouble = failed is not None
            self._tell_trouble(self._in_trouble, failed.message if failed is not None else "")
        if self._reserve.is_given_up is not self._was_scarce:
            self._was_scarce = self._reserve.is_given_up
            self._tell_scarce(self._was_scarce)
        if any(task.worth is not Worth.TRANSACTION and task.error is None for task in group):
            for tell in self._tell_commit:
                tell()
        if any(task.worth is Worth.TRANSACTION and task.error is None for task in group):
            for tell in self._tell_transactions:
                tell()

    def _translate_read(self, error: Exception) -> Exception:
        """Called by the reader's thread. What it finds damaged is looked at by a check before anything is done."""
        if is_damage(error) and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell_suspicion)
        return translate(error)

    def _replaced(self, done: bool, /) -> None:
        """Called by whoever writes: the thread, or the start."""
        if self._session is not None:
            self._session.file_changes(done=done)
        self.exchanges += done
        if done and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell_replaced)

    def _start_writer(self) -> GroupWriter:
        if self._handle is None:
            raise StoreUnavailable("the store is not open", hint="open it first")
        self._loop = asyncio.get_running_loop()
        self._writer = GroupWriter(self._handle, self._loop, self._clock, self._max_group, self._settled)
        writer = self._writer
        if not self._closed:
            self._threads.append(_start(lambda: _run_or_end(writer.run), "store-writer"))
        return self._writer


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
