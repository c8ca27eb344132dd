"""The alarm for stale backups: by both clocks, and never by a wall clock that nobody trusts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from agent.backup.freshness import Freshness
from agent.runtime.identifiers import uuid7
from agent.store import backups, meta
from agent.store.backups import NewBackup
from agent.store.database import Connection, Worth
from tests.kit.manual_clock import ManualClock
from tests.kit.store_records import OpenJournal, open_journal

WEEK_S = 7 * 86400.0


class Watched:
    """A watch over a real store; `stale` looks anew."""

    def __init__(self, store: OpenJournal, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self.trusted = True
        self._told: asyncio.Queue[bool] = asyncio.Queue()
        self.restart()

    def restart(self) -> None:
        """As another process would begin: nothing is known but what is stored."""
        self.freshness = Freshness(
            self.store.database,
            self.clock,
            fault_after_s=WEEK_S,
            clock_trusted=lambda: self.trusted,
            report=lambda _code, _device, active, _detail: self._told.put_nowait(active),
        )

    async def told(self) -> bool:
        """What the next look of the watch that runs says."""
        async with asyncio.timeout(10):
            return await self._told.get()

    async def stale(self) -> bool:
        running = asyncio.create_task(self.freshness.run())
        try:
            return await self.told()
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def verified(self, kind: str = "snapshot") -> None:
        now_ms = round(self.clock.now().timestamp() * 1000)

        def job(db: Connection) -> None:
            new = NewBackup(
                uuid7(),
                "snapshot" if kind == "snapshot" else "segment",
                "card",
                "f",
                meta.journal_id(db),
                1,
                1,
                b"",
                1,
                b"",
                now_ms,
                now_ms,
            )
            backups.add(db, new, ["card"])

        await self.store.database.write(job, worth=Worth.RUN)


@asynccontextmanager
async def _watched(folder: Path) -> AsyncIterator[Watched]:
    clock = ManualClock()
    async with open_journal(folder, clock=clock) as store:
        yield Watched(store, clock)


@pytest.fixture(name="watch")
async def _watch(tmp_path: Path) -> AsyncIterator[Watched]:
    async with _watched(tmp_path) as watch:
        yield watch


async def test_a_week_without_a_verified_snapshot_is_told_and_one_ends_it(watch: Watched) -> None:
    assert not await watch.stale()
    watch.clock.advance(WEEK_S - 60)
    assert not await watch.stale()
    await watch.verified("segment")
    watch.clock.advance(60)
    assert await watch.stale()
    await watch.verified()
    assert not await watch.stale()
    watch.clock.advance(WEEK_S)
    assert await watch.stale()


async def test_a_week_that_the_terminal_was_off_counts_where_the_clock_is_trusted(watch: Watched) -> None:
    await watch.verified()
    watch.clock.set_wall(watch.clock.now() + timedelta(days=8))
    watch.restart()
    watch.trusted = False
    assert not await watch.stale()
    watch.trusted = True
    assert await watch.stale()


async def test_a_clock_that_fell_back_to_1970_hides_nothing_and_invents_nothing(watch: Watched) -> None:
    await watch.verified()
    watch.clock.set_wall(watch.clock.now() - timedelta(days=20000))
    watch.restart()
    assert not await watch.stale()
    watch.clock.advance(WEEK_S)
    assert await watch.stale()


async def test_a_snapshot_made_before_the_clock_was_set_right_is_not_decades_old(watch: Watched) -> None:
    right = watch.clock.now()
    watch.clock.set_wall(right - timedelta(days=20000))
    watch.trusted = False
    running = asyncio.create_task(watch.freshness.run())
    try:
        assert not await watch.told()
        await watch.verified()
        watch.clock.set_wall(right)
        watch.trusted = True
        watch.freshness.look()
        assert not await watch.told()
        watch.clock.advance(WEEK_S)
        watch.freshness.look()
        assert await watch.told()
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_that_a_place_was_configured_and_nothing_came_of_it_outlives_restarts(watch: Watched) -> None:
    assert not await watch.stale()
    watch.clock.set_wall(watch.clock.now() + timedelta(days=8))
    watch.restart()
    assert await watch.stale()
