"""Is there a snapshot that was found right within the last week? Told as TXN-BKP-001 when there is none.

Two clocks are asked. The wall clock knows of a week in which the terminal was off, but may be wrong, so it counts only
while it is trusted, and of a snapshot that this process did not see itself: that one may bear the time of a clock that
was set right since. The monotonic one is always right and knows this life of the process alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from agent.errors import StoreFull, StoreUnavailable
from agent.runtime.clock import Clock
from agent.store import backups
from agent.store.database import Connection, Database, Worth

log = structlog.get_logger("backup")

STALE: Final = "TXN-BKP-001"
_LONGEST_LOOK_S: Final = 6 * 3600.0
_SHORTEST_LOOK_S: Final = 1.0


class Freshness:
    """A service."""

    name = "backup freshness"

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        fault_after_s: float,
        clock_trusted: Callable[[], bool],
        report: Callable[[str, str, bool, str], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._fault_after_s = fault_after_s
        self._clock_trusted = clock_trusted
        self._report = report
        self._changed = asyncio.Event()
        self._seen: int | None = None
        self._was_there = False  # when that snapshot was verified: then the monotonic clock alone knows how long ago
        self._has_looked = False
        self._seen_at = clock.monotonic()

    def look(self) -> None:
        """A snapshot was looked at: something may have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Watch until cancelled; looks when a fault may be due, after each snapshot, and at least every 6 hours."""
        while True:
            self._changed.clear()
            try:
                wait_s = await self._judge()
            except (StoreFull, StoreUnavailable) as err:
                log.warning("backup.waits_for_store", target="all", code=err.code)
                wait_s = 60.0
            try:
                async with asyncio.timeout(min(max(wait_s, _SHORTEST_LOOK_S), _LONGEST_LOOK_S)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _judge(self) -> float:
        """Report, and say in how many seconds it may be different without anything happening."""
        now_ms = round(self._clock.now().timestamp() * 1000)

        def ask(db: Connection) -> tuple[int | None, int]:
            return backups.last_verified_ms(db), backups.expected_since_ms(db, now_ms)

        verified_ms, since_ms = await self._database.write(ask, worth=Worth.AUDIT)
        if verified_ms != self._seen:
            self._was_there = self._has_looked and (verified_ms or 0) > (self._seen or 0)
            self._seen, self._seen_at = verified_ms, self._clock.monotonic()
        self._has_looked = True
        age_s = self._clock.monotonic() - self._seen_at
        if self._clock_trusted() and not self._was_there:
            age_s = max(age_s, (now_ms - (since_ms if verified_ms is None else verified_ms)) / 1000)
        stale = age_s >= self._fault_after_s
        what = "no snapshot has ever been verified" if verified_ms is None else "no snapshot was verified"
        self._report(STALE, "journal", stale, f"{what} for {age_s / 86400:.0f} days" if stale else "it is fresh")
        return _LONGEST_LOOK_S if stale else self._fault_after_s - age_s
