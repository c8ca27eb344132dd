"""The one thread that writes: everything in flight goes into one commit, and each caller gets its own answer.

Group commit is why a terminal with a slow flash still takes thousands of records a second. When a group fails, for any
reason, all of it is rolled back and its jobs are done again one by one in order of `Worth`: a poisoned job harms only
itself, and on a full disk what matters most is tried first. Jobs may be repeated, so a repeat must be harmless.
What SQLite is, and which of its errors mean what, is known to ``sqlite.py`` alone.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from agent.errors import AgentError, StoreFull
from agent.runtime.clock import Clock

if TYPE_CHECKING:
    from agent.store.database import Connection

log = structlog.get_logger("store")

STALLED_AFTER_S: Final = 20.0
_REPLACING_LIMIT_S: Final = 1300.0  # more than its child is given
_LINGER_SHARE: Final = 0.1  # of a commit's time: what gathering costs at most
_MAX_LINGER_S: Final = 0.002
_CHECKPOINT_IN_PAUSE_BYTES: Final = 1024 * 1024
_CHECKPOINT_AT_LAST_BYTES: Final = 6 * 1024 * 1024  # without any pause until then
_PAUSE_S: Final = 0.05
_IDLE_S: Final = 5.0
_ATTEMPTS_ALONE: Final = 3
_FIRST_LOOK_S: Final = 0.5  # after a start, for the reserve
_SCARCE_SHARE: Final = 4  # on a full disk the WAL is emptied sooner, so that it needs less room


class Worth(IntEnum):
    """Order in which jobs are replayed when a group failed."""

    TRANSACTION = 0
    RUN = 1
    AUDIT = 2
    OUTBOX = 3


class BulkJob(Protocol):
    """Work on several items of one kind at once; returns one outcome for each, in order."""

    def __call__(self, db: Connection, items: Sequence[Any], /) -> Sequence[Any]: ...


class Task:
    """One caller's job and the future it waits for. ``item`` is given when ``work`` takes several at once."""

    __slots__ = ("error", "future", "is_bulk", "is_spared", "item", "result", "work", "worth")

    def __init__(
        self, work: Callable[..., Any], item: object, worth: Worth, future: asyncio.Future[Any], *, is_bulk: bool
    ) -> None:
        self.work = work
        self.item = item
        self.worth = worth
        self.future = future
        self.is_bulk = is_bulk
        self.result: Any = None
        self.error: Exception | None = None
        self.is_spared = False
        """Refused untried, because what room is left is for others."""


@dataclass(slots=True)
class WriterCounters:
    """What the writer did since start. Written by its thread alone."""

    commits: int = 0
    jobs: int = 0
    largest_group: int = 0
    failed_groups: int = 0
    last_commit_s: float = 0.0
    checkpoints: int = 0


class Handle(Protocol):
    """What the writer needs done to its connection; ``writer_handle.py`` does it."""

    def begin(self) -> Connection:
        """The writing connection, in a new transaction; opened again when a failure closed it."""
        ...

    def commit(self) -> None: ...
    def abandon(self) -> None:
        """Roll back whatever is open; never raises."""
        ...

    def note(self, error: Exception) -> bool:
        """A transaction failed: make ready for doing its jobs again. True when that may go better. Never raises."""
        ...

    def translate(self, error: Exception) -> Exception:
        """The error for the caller: full, unavailable, or the job's own."""
        ...

    @property
    def is_replacing(self) -> bool:
        """True while a damaged file makes room for a new one, which takes longer than any commit."""
        ...

    @property
    def is_scarce(self) -> bool:
        """True while there is room for transactions and runs alone."""
        ...

    @property
    def wants_room(self) -> bool:
        """True while the reserve is not held."""
        ...

    def look_for_room(self) -> None:
        """Take the reserve if there is room. Never raises."""
        ...

    @property
    def pending_bytes(self) -> float:
        """About how much of the WAL is not in the file yet."""
        ...

    def checkpoint(self) -> None:
        """Copy the WAL into the file, as far as readers allow. Never raises."""
        ...

    def close(self) -> None: ...


class Attempt:
    """Something done for others on a thread: its error belongs to whoever waits for it, so it is kept, not raised."""

    def __init__(self, undo: Callable[[], None]) -> None:
        self._undo = undo
        self.error: Exception | None = None

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        if isinstance(error, Exception):
            self.error = error
            self._undo()
            return True
        return False


@dataclass(slots=True)
class GroupWriter:
    """Takes tasks from any thread in order; `run` is the thread's whole life."""

    handle: Handle
    loop: asyncio.AbstractEventLoop
    clock: Clock
    max_group: int
    settled: Callable[[list[Task]], None]  # called on the loop after each group
    counters: WriterCounters = field(default_factory=WriterCounters)
    _queue: deque[Task] = field(default_factory=deque)
    _wake: threading.Condition = field(default_factory=threading.Condition)
    _asleep: bool = False
    _closing: bool = False
    _busy_since: float | None = None
    _commit_s: float = 0.0
    _company: int = 0

    def put(self, task: Task) -> None:
        """Enqueue at once: the order of calls is the order of effect."""
        self._queue.append(task)
        if self._asleep:
            with self._wake:
                self._wake.notify()

    def close(self) -> None:
        """Let the thread finish what is queued, and end."""
        with self._wake:
            self._closing = True
            self._wake.notify()

    @property
    def stalled(self) -> bool:
        """True when one batch has been under way for longer than 20 s, or 1300 s while a damaged file is replaced."""
        since = self._busy_since
        limit_s = _REPLACING_LIMIT_S if self.handle.is_replacing else STALLED_AFTER_S
        return since is not None and self.clock.monotonic() - since > limit_s

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def run(self) -> None:
        """Commit groups until closed and empty."""
        try:
            while self._await_work():
                self._gather()
                group = [self._queue.popleft() for _ in range(min(len(self._queue), self.max_group))]
                self._busy_since = self.clock.monotonic()
                self._do(group)
                self._deliver(group)
                self._company = len(group)
                limit_bytes = _CHECKPOINT_AT_LAST_BYTES // (_SCARCE_SHARE if self.handle.is_scarce else 1)
                if self.handle.pending_bytes > limit_bytes:
                    self._checkpoint()
                self._busy_since = None
        finally:
            self.handle.close()

    def _await_work(self) -> bool:
        """Wait for a task; a pause is used for a checkpoint. False: closed and nothing left."""
        if self._queue:
            return True
        long_wal = self.handle.pending_bytes > _CHECKPOINT_IN_PAUSE_BYTES
        timeout = None if not self.handle.pending_bytes else _PAUSE_S if long_wal else _IDLE_S
        if self.handle.wants_room:
            timeout = min(timeout or _IDLE_S, _IDLE_S if self.handle.is_scarce else _FIRST_LOOK_S)
        with self._wake:
            self._asleep = True
            try:
                while not self._queue:
                    if self._closing:
                        return False
                    if not self._wake.wait(timeout) and not self._queue:
                        self._checkpoint()
                        timeout = _IDLE_S if self.handle.is_scarce else None  # an idle store costs no wake-up
            finally:
                self._asleep = False
        return True

    def _checkpoint(self) -> None:
        self.handle.checkpoint()
        self.counters.checkpoints += 1
        if self.handle.wants_room:
            was_scarce = self.handle.is_scarce
            self.handle.look_for_room()
            if was_scarce and not self.handle.is_scarce:
                self._deliver([])

    def _gather(self) -> None:
        """Give callers of the last group a tenth of a commit's time to come again, so that batches do not split."""
        if 1 < self._company > len(self._queue) < self.max_group and not self._closing:
            time.sleep(min(self._commit_s * _LINGER_SHARE, _MAX_LINGER_S))

    def _do(self, group: list[Task]) -> None:
        started = self.clock.monotonic()
        if self.handle.is_scarce:
            group = [task for task in group if not _spare(task)]
        if not group:
            return
        with Attempt(self.handle.abandon) as attempt:
            db = self.handle.begin()
            _perform(db, group)
            self.handle.commit()
        if attempt.error is None:
            self.counters.commits += 1
        else:
            self.counters.failed_groups += 1
            self.handle.note(attempt.error)
            log.warning("store.group_failed", jobs=len(group), error=type(attempt.error).__name__)
            for task in sorted(group, key=lambda task: task.worth):
                self._do_alone(task)
        self.counters.jobs += len(group)
        self.counters.largest_group = max(self.counters.largest_group, len(group))
        took_s = self.clock.monotonic() - started
        self.counters.last_commit_s = took_s
        self._commit_s += (took_s - self._commit_s) / 8

    def _do_alone(self, task: Task) -> None:
        """The replay of one job. One that reached the disk by a COMMIT that reported failure finds itself by its id."""
        left = _ATTEMPTS_ALONE
        while left and not (self.handle.is_scarce and _spare(task)):
            left -= 1
            task.result = None
            with Attempt(self.handle.abandon) as attempt:
                db = self.handle.begin()
                _perform(db, [task])
                self.handle.commit()
            if attempt.error is None:
                self.counters.commits += 1
                return
            if not self.handle.note(attempt.error) or not left:
                task.error = self.handle.translate(attempt.error)
                return

    def _deliver(self, group: list[Task]) -> None:
        try:
            self.loop.call_soon_threadsafe(_resolve, group, self.settled)
        except RuntimeError:  # the loop is closed: nobody waits any more, and what was committed stays
            log.info("store.nobody_waits", jobs=len(group))


def _spare(task: Task) -> bool:
    """Refuse what is worth less than a run, untried; true when it was."""
    if task.worth <= Worth.RUN:
        return False
    task.is_spared = True
    task.error = StoreFull("the disk is full: what is left is for records", hint="free space below paths.state")
    return True


def _perform(db: Connection, group: list[Task]) -> None:
    """Do every task in order; neighbours of one bulk kind in one call."""
    index, count = 0, len(group)
    while index < count:
        task = group[index]
        if not task.is_bulk:
            task.result = task.work(db)
            index += 1
            continue
        end = index + 1
        while end < count and group[end].work == task.work:
            end += 1
        run = group[index:end]
        for done, result in zip(run, task.work(db, [each.item for each in run]), strict=True):
            done.result = result
        index = end


def _resolve(group: list[Task], settled: Callable[[list[Task]], None]) -> None:
    for task in group:
        if task.future.done():  # the caller was cancelled; its record is stored all the same
            continue
        error = task.error or (task.result if isinstance(task.result, AgentError) else None)
        if error is not None:  # a refusal is returned by its job, so that it spoils nobody else's group
            task.future.set_exception(error)
        else:
            task.future.set_result(task.result)
    settled(group)
