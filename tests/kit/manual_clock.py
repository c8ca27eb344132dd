"""A clock that tests move by hand; `sleep` returns when it has been moved far enough."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta


class ManualClock:
    """Starts at ``at``; only `advance` and `set_wall` move it."""

    def __init__(self, at: datetime = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)) -> None:
        self._wall = at
        self._monotonic_s = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic_s

    async def sleep(self, duration_s: float) -> None:
        self._count += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic_s + duration_s, self._count, future))
        await future

    @property
    def sleeping(self) -> int:
        """How many wait for a time that has not come; those who gave up are left out."""
        return sum(not future.done() for _due, _order, future in self._sleepers)

    def next_due_in_s(self) -> float | None:
        """Until the first sleeper is due; None while nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] - self._monotonic_s if self._sleepers else None

    def advance(self, duration_s: float) -> None:
        """Move wall and monotonic time forward together and wake whoever slept until then."""
        self._wall += timedelta(seconds=duration_s)
        self._monotonic_s += duration_s
        while self._sleepers and self._sleepers[0][0] <= self._monotonic_s:
            _due, _order, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    def set_wall(self, at: datetime) -> None:
        """Jump wall time, as an operator or a broken RTC does; monotonic time stays."""
        self._wall = at
