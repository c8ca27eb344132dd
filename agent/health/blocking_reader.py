"""Reads that may block for ever, in a named daemon thread, with a deadline: a FIFO instead of a file harms only itself.

What is due together is read in one hop: one wake-up of the thread, one of the loop. When a read lets the others wait
longer than a moment, they are taken away from it and go on in a fresh thread. A read that has not come back is never
started again, so there is at most one lost thread for each name; when it does come back, its name is free again.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")

PATIENCE_S = 0.05


class _Batch(Generic[T]):
    """Reads for one thread. ``waiting`` is emptied from both sides of the thread boundary: each pop has one winner."""

    def __init__(self, reads: Mapping[str, Callable[[], T]], loop: asyncio.AbstractEventLoop) -> None:
        self.waiting = deque(reads.items())
        self.begun = False
        self.results: dict[str, T] = {}
        self.names = set(reads)
        self.taken: set[str] = set()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._loop = loop

    def run(self) -> None:
        """In the thread."""
        try:
            while True:
                try:
                    name, read = self.waiting.popleft()
                except IndexError:
                    return
                self.begun = True
                self.results[name] = read()
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._end)

    def take_rest(self) -> dict[str, Callable[[], T]]:
        """On the loop: what has not been begun, to be read elsewhere."""
        rest: dict[str, Callable[[], T]] = {}
        while True:
            try:
                name, read = self.waiting.popleft()
            except IndexError:
                self.names -= rest.keys()
                return rest
            rest[name] = read

    def arrived(self) -> set[str]:
        """Names of the results so far; the copy is made in one step, because the thread may add one at any time."""
        return set(self.results.copy())

    def take_results(self) -> dict[str, T]:
        """On the loop: what has arrived since the last call."""
        arrived = {name: self.results[name] for name in self.arrived() - self.taken}
        self.taken |= arrived.keys()
        return arrived

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class _Countdown:
    """A deadline that can stand still for a while."""

    def __init__(self, loop: asyncio.AbstractEventLoop, duration_s: float) -> None:
        self._loop = loop
        self._ends_s = loop.time() + duration_s

    @property
    def seconds(self) -> float:
        """What is left; below zero when it is over."""
        return self._ends_s - self._loop.time()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Time inside does not count."""
        begun_s = self._loop.time()
        try:
            yield
        finally:
            self._ends_s += self._loop.time() - begun_s


class _Worker:
    """One thread and its queue. ``retire`` ends it after what it is doing."""

    def __init__(self, name: str) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def give(self, work: Callable[[], None]) -> None:
        self._queue.put(work)

    def retire(self) -> None:
        self._queue.put(None)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            work()
            del work  # nothing of the last batch is kept alive while waiting for the next


class BlockingReader(Generic[T]):
    """Used from one event loop. ``missing`` makes what a caller gets for a read that did not come back in time."""

    def __init__(self, thread_name: str, missing: Callable[[float], T], *, patience_s: float = PATIENCE_S) -> None:
        self._thread_name = thread_name
        self._missing = missing
        self._patience_s = patience_s
        self._worker: _Worker | None = None
        self._given: _Batch[T] | None = None  # to the present worker, last
        self._under_way: dict[str, _Batch[T]] = {}
        self._slow: set[str] = set()

    @property
    def under_way(self) -> frozenset[str]:
        """Names whose read has not come back."""
        return frozenset(self._under_way)

    async def read(self, reads: Mapping[str, Callable[[], T]], deadline_s: float) -> AsyncIterator[dict[str, T]]:
        """Run each of ``reads`` and yield what is there as soon as it is there; at most ``deadline_s`` in all.

        What the caller does between is not counted: a slow commit there must not look like a file that blocks.

        Args:
            reads: Name → a function that returns a result and never raises. One caller at a time for each name.
        """
        time_left = _Countdown(asyncio.get_running_loop(), deadline_s)
        lost = [name for name in reads if name in self._under_way]
        if lost:
            with time_left.stopped():
                yield {name: self._missing(deadline_s) for name in lost}
        todo = {name: reads[name] for name in sorted(reads, key=self._slow.__contains__) if name not in lost}
        behind: list[_Batch[T]] = []
        while todo:
            batch = self._begin(todo, asyncio.get_running_loop())
            todo, late = {}, {}
            if not await self._ended_or_held_up(batch, time_left):
                rest = self._take_rest(batch)
                behind.append(batch)
                if time_left.seconds > 0:
                    todo = rest
                else:
                    late = {name: self._missing(deadline_s) for name in rest}
            results = self._take_results(batch)
            if batch.ended.done():
                self._slow -= results.keys()
            if results or late:
                with time_left.stopped():
                    yield results | late
        for batch in behind:
            await _ended(batch, time_left.seconds)
            results = self._take_results(batch)
            if missing := batch.names - batch.taken:
                results |= {name: self._missing(deadline_s) for name in missing}
            if results:
                with time_left.stopped():
                    yield results

    def close(self) -> None:
        """Let the idle thread end. A blocked one cannot be ended; it is a daemon and holds nothing up."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.retire()

    def _begin(self, reads: Mapping[str, Callable[[], T]], loop: asyncio.AbstractEventLoop) -> _Batch[T]:
        if self._given is not None and not self._given.ended.done():
            self.close()  # that thread may be lost: leave it to what it is reading
        if self._worker is None:
            self._worker = _Worker(self._thread_name)
        batch = self._given = _Batch(reads, loop)
        self._under_way.update(dict.fromkeys(reads, batch))
        batch.ended.add_done_callback(lambda _future: self._release(batch.names, batch))
        self._worker.give(batch.run)
        return batch

    async def _ended_or_held_up(self, batch: _Batch[T], time_left: _Countdown) -> bool:
        """False when one read of it is under way for longer than a moment, or the time is over."""
        while not await _ended(batch, min(self._patience_s, time_left.seconds)):
            if batch.begun or time_left.seconds <= 0:  # a thread that has not begun only lacks processor time
                return False
        return True

    def _take_rest(self, batch: _Batch[T]) -> dict[str, Callable[[], T]]:
        rest = batch.take_rest()
        self._release(rest, batch)
        self._slow |= batch.names - batch.arrived()
        return rest

    def _take_results(self, batch: _Batch[T]) -> dict[str, T]:
        """What has come back; those names are free again, though the thread may be stuck at another one."""
        results = batch.take_results()
        self._release(results, batch)
        return results

    def _release(self, names: Iterable[str], batch: _Batch[T]) -> None:
        for name in names:
            if self._under_way.get(name) is batch:
                del self._under_way[name]


async def _ended(batch: _Batch[T], within_s: float) -> bool:
    if not batch.ended.done() and within_s > 0:
        await asyncio.wait([batch.ended], timeout=within_s)
    return batch.ended.done()
