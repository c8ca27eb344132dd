"""A batch that nobody settles is a fault after a day, by a real journal, and none once it is settled."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agent.selling.batches import EVERY_S, FIRST_AFTER_S, BatchWatch
from tests.kit.manual_clock import ManualClock
from tests.kit.store_records import open_journal, sale, settlement

HOUR_S = 3600.0


async def test_only_a_batch_that_has_waited_for_a_day_is_a_fault(tmp_path: Path) -> None:
    clock, told = ManualClock(), list[tuple[str, str, bool]]()
    async with open_journal(tmp_path, clock=clock) as store:
        watch = BatchWatch(store.journal, clock, lambda code, device, active, _why: told.append((code, device, active)))
        await watch.look()
        await store.store(sale(stan="000001", batch_no="000001"))
        clock.advance(23 * HOUR_S)
        await store.store(sale(stan="000002", batch_no="000002"))
        await watch.look()
        assert told == [("TXN-BAT-001", "journal", False)] * 2
        clock.advance(2 * HOUR_S)
        await watch.look()
        assert told[-1] == ("TXN-BAT-001", "journal", True)
        await store.store(settlement(batch_no="000001"))
        await watch.look()
        assert told[-1] == ("TXN-BAT-001", "journal", False)
        clock.advance(23 * HOUR_S)
        await watch.look()
        assert told[-1] == ("TXN-BAT-001", "journal", True)


async def test_what_never_belongs_to_a_settlement_is_no_fault(tmp_path: Path) -> None:
    clock, told = ManualClock(), list[bool]()
    async with open_journal(tmp_path, clock=clock) as store:
        for state in ("declined", "created", "reversed", "cancelled"):
            await store.store(sale(stan=f"{len(state):06d}", state=state))
        clock.advance(48 * HOUR_S)
        watch = BatchWatch(store.journal, clock, lambda _code, _device, active, _why: told.append(active))
        await watch.look()
        assert told == [False]


async def test_it_looks_by_itself_a_minute_after_the_start_and_then_every_hour(tmp_path: Path) -> None:
    clock, told = ManualClock(), list[bool]()
    looked = asyncio.Event()

    def report(_code: str, _device: str, active: bool, _why: str) -> None:
        told.append(active)
        looked.set()

    async with open_journal(tmp_path, clock=clock) as store:
        await store.store(sale())
        clock.advance(25 * HOUR_S)
        task = asyncio.create_task(BatchWatch(store.journal, clock, report).run())
        await asyncio.sleep(0)
        for wait_s in (FIRST_AFTER_S, EVERY_S, EVERY_S):
            assert not looked.is_set()
            clock.advance(wait_s)
            async with asyncio.timeout(20):
                await looked.wait()
            looked.clear()
        assert told == [True] * 3
        task.cancel()
        await asyncio.wait([task])
