"""Entries on this medium alone: counted, aged by clocks that cannot lie, a fault when old, none once copied."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.health.protection import ProtectionWatch, Waiting
from agent.store import marks
from agent.store.database import Worth
from agent.store.marks import Marks
from agent.store.protection import Protection
from tests.kit.manual_clock import ManualClock
from tests.kit.store_records import OpenJournal, open_journal, sale

AFTER_S = 3600.0


class Watched:
    """A watch over an opened journal, and what it reported."""

    def __init__(self, store: OpenJournal, clock: ManualClock, *, is_copied: bool = True, trusted: bool = True) -> None:
        self.told: list[tuple[bool, str]] = []
        self.store = store
        self.watch = ProtectionWatch(
            store.database,
            clock,
            self._report,
            fault_after_s=AFTER_S,
            is_copied=is_copied,
            is_trusted=lambda: trusted,
        )

    def _report(self, code: str, device: str, active: bool, detail: str) -> None:
        assert (code, device) == ("TXN-JRN-003", "journal")
        self.told.append((active, detail))

    async def back_up(self, upto: int) -> None:
        await self.store.database.write(lambda db: marks.set_backed_up(db, upto), worth=Worth.AUDIT)

    async def deliver(self, upto: int) -> None:
        await self.store.database.write(lambda db: marks.set_delivered(db, upto), worth=Worth.AUDIT)

    async def is_fault(self) -> bool:
        await self.watch.look()
        return self.told[-1][0]


@asynccontextmanager
async def watched(
    folder: Path, clock: ManualClock, *, is_copied: bool = True, trusted: bool = True
) -> AsyncIterator[Watched]:
    async with open_journal(folder, clock=clock) as store:
        yield Watched(store, clock, is_copied=is_copied, trusted=trusted)


async def test_an_entry_that_waits_too_long_is_a_fault_until_it_has_any_copy(tmp_path: Path) -> None:
    clock = ManualClock()
    async with watched(tmp_path, clock) as at:
        assert not await at.is_fault()
        for number in range(3):
            await at.store.store(sale(stan=f"{number:06d}"))
            assert not await at.is_fault()
            clock.advance(1000.0)
        assert at.watch.figures() == {
            "unprotected_entries": 3,
            "oldest_unprotected_age_s": 3000.0,
            "backed_up_upto": 0,
            "delivered_upto": 0,
        }
        clock.advance(700.0)
        assert await at.is_fault()
        assert "sequence 1 " in at.told[-1][1]
        await at.back_up(1)
        assert not await at.is_fault()  # the second one is not so old yet
        assert at.watch.figures()["oldest_unprotected_age_s"] == 2700.0
        clock.advance(1000.0)
        assert await at.is_fault()
        await at.deliver(3)
        assert not await at.is_fault()
        assert at.watch.figures() == {
            "unprotected_entries": 0,
            "oldest_unprotected_age_s": 0.0,
            "backed_up_upto": 1,
            "delivered_upto": 3,
        }
        clock.advance(10_000.0)
        await at.store.store(sale(stan="000009"))
        assert not await at.is_fault()


async def test_a_collector_that_lost_entries_makes_them_unprotected_again_by_their_own_age(tmp_path: Path) -> None:
    clock = ManualClock()
    async with watched(tmp_path, clock) as at:
        assert not await at.is_fault()
        clock.advance(500.0)
        await at.store.store(sale())
        await at.deliver(1)
        assert not await at.is_fault()
        clock.advance(3000.0)
        await at.deliver(0)
        assert not await at.is_fault()
        assert at.watch.figures()["oldest_unprotected_age_s"] == 3000.0
        clock.advance(601.0)
        assert await at.is_fault()


async def test_where_nothing_could_copy_entries_the_fault_says_so(tmp_path: Path) -> None:
    clock = ManualClock()
    async with watched(tmp_path, clock, is_copied=False) as at:
        await at.store.store(sale())
        assert not await at.is_fault()
        clock.advance(AFTER_S)
        assert await at.is_fault()
        assert "nothing is configured that copies them" in at.told[-1][1]


async def test_a_jump_of_the_wall_clock_makes_nothing_older_or_younger(tmp_path: Path) -> None:
    clock = ManualClock()
    async with watched(tmp_path, clock) as at:
        assert not await at.is_fault()
        await at.store.store(sale())
        await at.watch.look()
        for year in (2036, 1970):
            clock.set_wall(datetime(year, 1, 1, tzinfo=UTC))
            assert not await at.is_fault()
        clock.advance(AFTER_S)
        assert await at.is_fault()


@pytest.mark.parametrize(
    ("trusted", "off_s", "set_to", "is_fault"),
    [
        (True, 4000.0, None, True),  # it waited while the terminal was off
        (True, 60.0, None, False),
        (False, 4000.0, None, False),  # nobody knows for how long it was off: counted from the start on
        (False, 60.0, datetime(2036, 1, 1, tzinfo=UTC), False),
        (True, 60.0, datetime(1970, 1, 1, tzinfo=UTC), False),
    ],
)
async def test_after_a_start_an_entry_is_as_old_as_can_be_known(
    tmp_path: Path, trusted: bool, off_s: float, set_to: datetime | None, is_fault: bool
) -> None:
    clock = ManualClock()
    async with open_journal(tmp_path, clock=clock) as store:
        await store.store(sale())
    clock.advance(off_s)
    if set_to is not None:
        clock.set_wall(set_to)
    async with watched(tmp_path, clock, trusted=trusted) as at:
        assert await at.is_fault() == is_fault
        clock.advance(AFTER_S)
        assert await at.is_fault()


async def test_without_a_trusted_clock_the_journals_own_times_still_count(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_journal(tmp_path, clock=clock) as store:
        await store.store(sale(stan="000001"))
        clock.advance(AFTER_S)
        await store.store(sale(stan="000002"))
    async with watched(tmp_path, clock, trusted=False) as at:
        assert await at.is_fault()


async def test_it_looks_when_something_was_stored_or_copied_and_sleeps_otherwise(tmp_path: Path) -> None:
    clock = ManualClock()
    async with watched(tmp_path, clock) as at:
        task = asyncio.create_task(at.watch.run())

        async def until(holds: Callable[[], bool]) -> None:
            async with asyncio.timeout(20):
                while not holds():
                    clock.advance(20.0)  # in time even where a first step came before its sleeper
                    await asyncio.sleep(0.002)

        await until(lambda: at.told[-1:] != [] and not at.told[-1][0])
        async with asyncio.timeout(20):
            while clock.sleeping:  # nothing is there: nothing ticks
                clock.advance(1.0)
                await asyncio.sleep(0.002)
        await at.store.store(sale())
        await until(lambda: at.watch.figures()["unprotected_entries"] == 1)
        looks = len(at.told)
        clock.advance(AFTER_S / 2)
        await asyncio.sleep(0.05)
        assert len(at.told) == looks  # one sleep until the entry is too old
        clock.advance(AFTER_S / 2)
        await until(lambda: at.told[-1][0])
        await at.back_up(1)
        await until(lambda: not at.told[-1][0])
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("seed", range(20))
def test_an_age_is_never_less_than_it_is_and_more_only_where_marks_were_put_together(seed: int) -> None:
    rng = random.Random(seed)
    now_s, last, protected = 1000.0, 0, 0
    stored_s: dict[int, float] = {}
    put_together = False
    waiting = Waiting(Protection(Marks(0, 0), 0, 0, 0, 0), now_s, 0)
    for _ in range(2000):
        now_s += rng.random() * 10
        if rng.random() < 0.8:
            last += 1
            stored_s[last] = now_s
        elif rng.random() < (0.3 if seed % 2 else 0.9):
            protected = rng.randint(protected, last)
        oldest = protected + 1 if protected < last else 0
        since_s = waiting.look(Protection(Marks(protected, 0), last, 0, oldest, 0), now_s)
        if not oldest:
            assert since_s is None
            continue
        assert since_s is not None
        put_together = put_together or last - protected > 64
        assert since_s <= stored_s[oldest]
        assert put_together or since_s == stored_s[oldest]
        assert len(waiting._seen) <= 65
