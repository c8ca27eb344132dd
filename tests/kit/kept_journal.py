"""A journal on a clock that tests move, and its retention, which need not wait between pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.store import marks
from agent.store.database import Worth
from agent.store.retention import DAY_S, Retention
from agent.store.transactions import TransactionFilters
from tests.kit.manual_clock import ManualClock
from tests.kit.store_records import OpenJournal, open_journal, sale

KEEP_DAYS = 10


class Kept:
    """It is opened; ``told``: how often its retention said that entries have left."""

    def __init__(self, store: OpenJournal, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self.told = 0
        self.retention = Retention(store.database, clock, keep_days=KEEP_DAYS, on_removed=self._on_removed)

    def _on_removed(self) -> None:
        self.told += 1

    async def copied(self, upto: int) -> None:
        await self.store.database.write(lambda db: marks.set_backed_up(db, upto), worth=Worth.AUDIT)

    async def remove_old(self) -> int:
        work = asyncio.create_task(self.retention.remove_old())
        while not work.done():
            self.clock_only_monotonic(1.0)
            await asyncio.sleep(0.001)
        return work.result()

    def clock_only_monotonic(self, by_s: float) -> None:
        wall = self.clock.now()
        self.clock.advance(by_s)
        self.clock.set_wall(wall)

    async def sequences(self) -> list[int]:
        items = []
        cursor: str | None = None
        while True:
            page = await self.store.journal.list(TransactionFilters(), 1000, cursor)
            items += [item.seq for item in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return items

    async def days(self, count: int, **changes: Any) -> list[dict[str, Any]]:
        """A sale that needs no settlement at each of so many days."""
        made = []
        for _ in range(count):
            made.append(sale(**{"state": "declined", **changes}))
            await self.store.store(made[-1])
            self.clock.advance(DAY_S)
        return made


@asynccontextmanager
async def kept(folder: Path) -> AsyncIterator[Kept]:
    clock = ManualClock()
    async with open_journal(folder, clock=clock) as store:
        yield Kept(store, clock)
