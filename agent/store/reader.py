"""The thread that reads: one query after another on a read-only connection, each in its own short read transaction.

Reading never waits for writing (WAL); a reader without questions costs no wake-up. A query that reads for longer than
2 s is interrupted, so that the WAL can always be emptied. How the connection is made is in ``sqlite.py``.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from agent.errors import StoreUnavailable
from agent.runtime.clock import Clock
from agent.store.writer import Attempt

if TYPE_CHECKING:
    from agent.store.database import Connection

T = TypeVar("T")

READ_LIMIT_S: Final = 2.0
_FILE_CHANGE_LIMIT_S: Final = 30.0
_OPCODES_BETWEEN_LOOKS: Final = 20_000


class ReadSession:
    """A read-only connection, opened when first needed and again after a failure; used by the reader's thread alone."""

    def __init__(
        self, connect: Callable[[], Connection], translate: Callable[[Exception], Exception], clock: Clock
    ) -> None:
        """``translate`` makes the error for the caller out of the database's own."""
        self._connect = connect
        self.translate = translate
        self._clock = clock
        self._db: Connection | None = None
        self._until = 0.0
        self._may_read = threading.Event()
        self._may_read.set()
        self._is_outdated = False

    def file_changes(self, *, done: bool) -> None:
        """Another file takes the place of this one: queries wait until it is ``done``, and read from that one then."""
        self._is_outdated = True
        self._may_read.set() if done else self._may_read.clear()

    def run(self, query: Callable[[Connection], T]) -> T:
        """One query in one read transaction of at most 2 s."""
        self._may_read.wait(_FILE_CHANGE_LIMIT_S)
        if self._is_outdated:
            self._is_outdated = False
            self.close()
        if self._db is None:
            self._db = self._connect()
            self._db.set_progress_handler(self._too_long, _OPCODES_BETWEEN_LOOKS)
        self._until = self._clock.monotonic() + READ_LIMIT_S
        self._db.execute("BEGIN")
        answer = query(self._db)
        self._db.execute("ROLLBACK")
        return answer

    def abandon(self) -> None:
        """After a failure nothing of the connection is trusted: the next query opens a fresh one."""
        self.close()

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _too_long(self) -> bool:
        """Asked by SQLite between the steps of a query; true interrupts it."""
        return self._clock.monotonic() > self._until


class _Question(NamedTuple):
    query: Callable[[Connection], Any]
    future: asyncio.Future[Any]


class Reader:
    """Takes queries from the loop; `run` is the thread's whole life."""

    def __init__(self, session: ReadSession, loop: asyncio.AbstractEventLoop) -> None:
        self._session = session
        self._loop = loop
        self._questions: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        self._closing = False

    def submit(self, query: Callable[[Connection], T]) -> asyncio.Future[T]:
        """Enqueue a query; its future has the answer or the error."""
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closing:
            future.set_exception(StoreUnavailable("the store is closing", hint="ask again after the start"))
        else:
            self._questions.put(_Question(query, future))
        return future

    def close(self) -> None:
        """Let the thread answer what is queued, and end."""
        self._closing = True
        self._questions.put(None)

    def run(self) -> None:
        """Answer until closed."""
        try:
            while (question := self._questions.get()) is not None:
                if question.future.cancelled():
                    continue
                answer: Any = None
                with Attempt(self._session.abandon) as attempt:
                    answer = self._session.run(question.query)
                error = None if attempt.error is None else self._session.translate(attempt.error)
                try:
                    self._loop.call_soon_threadsafe(_resolve, question.future, answer, error)
                except RuntimeError:
                    return  # the loop is closed: nobody waits any more
        finally:
            self._session.close()


def _resolve(future: asyncio.Future[Any], answer: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(answer)
