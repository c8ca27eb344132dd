"""The desk: leases against operations and lock, statuses, and that operations are told when to look again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from agent.contract.calls import Purpose
from agent.contract.selling import AppStatus, Selling
from agent.errors import Refused
from agent.runtime.process_identity import Process
from agent.selling.selling import Lock, Sales
from agent.workflow.roster import RunningOperation
from tests.kit.manual_clock import ManualClock

SHOP = Process(1000, 41, 900)
UNIT = "payment.service"
WELL = AppStatus(ready=True, signed_in=True, batch_no="000001", pending_reversals=0, unknown_results=0, saf_count=0)
UNWELL = AppStatus(ready=False, signed_in=True, batch_no=None, pending_reversals=1, unknown_results=0, saf_count=0)


@dataclass
class Counter:
    """A desk on a clock moved by hand, with what it told."""

    clock: ManualClock = field(default_factory=ManualClock)
    operation: RunningOperation | None = None
    lock: Lock | None = None
    reports: list[tuple[str, str, bool]] = field(default_factory=list)
    changes: int = 0

    def __post_init__(self) -> None:
        self.sales = Sales(
            {UNIT: "shop"},
            self.clock,
            report=lambda code, device, active, _detail: self.reports.append((code, device, active)),
            operation=lambda: self.operation,
            lock=lambda: self.lock,
            unit_of=lambda process: UNIT if process == SHOP else None,
            is_alive=lambda _process: False,
        )
        self.sales.on_change(self._changed)

    def _changed(self) -> None:
        self.changes += 1

    async def later(self, duration_s: float) -> None:
        """Let time pass and the loop see it."""
        await settle()
        self.clock.advance(duration_s)
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def at_work(counter: Counter) -> AsyncIterator[Counter]:
    task = asyncio.create_task(counter.sales.run())
    try:
        await settle()
        yield counter
    finally:
        task.cancel()
        await asyncio.wait([task])


def refusal(counter: Counter, purpose: Purpose) -> Refused:
    with pytest.raises(Refused) as caught:
        counter.sales.begin(SHOP, purpose, 60)
    return caught.value


async def test_while_an_operation_runs_no_lease_begins_and_one_that_lives_goes_on() -> None:
    counter = Counter()
    lease = counter.sales.begin(SHOP, Purpose.SALE, 60)
    counter.operation = RunningOperation("cmd-1", "reset", 7.5)
    for purpose in Purpose:
        refused = refusal(counter, purpose)
        assert (refused.reason, refused.facts["retry_after_s"]) == ("OPERATION_RUNNING", 7.5)
    assert counter.sales.renew(SHOP, lease.lease_id, 90).ends_s == counter.clock.monotonic() + 90
    counter.sales.end(SHOP, lease.lease_id)
    counter.operation = None
    counter.sales.begin(SHOP, Purpose.SALE, 60)


async def test_a_locked_terminal_refuses_sales_alone() -> None:
    counter = Counter(lock=Lock("stolen"))
    assert refusal(counter, Purpose.SALE).reason == "TERMINAL_LOCKED"
    counter.sales.begin(SHOP, Purpose.REVERSAL, 60)
    counter.sales.begin(SHOP, Purpose.SETTLEMENT, 60)


async def test_operations_look_again_when_the_last_lease_is_ended_or_over() -> None:
    async with at_work(Counter()) as counter:
        first = counter.sales.begin(SHOP, Purpose.SALE, 60)
        second = counter.sales.begin(SHOP, Purpose.SALE, 60)
        await settle()
        before = counter.changes
        counter.sales.end(SHOP, first.lease_id)
        assert counter.changes == before
        counter.sales.end(SHOP, second.lease_id)
        assert counter.changes == before + 1
        counter.sales.begin(SHOP, Purpose.SALE, 10)
        await settle()
        before = counter.changes
        await counter.later(9.0)
        assert counter.changes == before
        await counter.later(1.1)
        assert counter.changes == before + 1
        assert counter.sales.facts().lease_left_s is None


async def test_a_status_that_changes_the_facts_wakes_operations_and_a_repeat_does_not() -> None:
    counter = Counter()
    counter.sales.status(SHOP, WELL)
    assert counter.changes == 1  # nothing to wait for any more
    counter.sales.status(SHOP, WELL)
    assert counter.changes == 1
    counter.sales.status(SHOP, UNWELL)
    assert counter.changes == 2
    assert counter.sales.last_report(UNIT) == counter.clock.monotonic()


async def test_the_end_of_the_grace_and_silence_are_noticed_by_themselves() -> None:
    async with at_work(Counter()) as counter:
        assert counter.sales.facts() == Selling(start_left_s=180.0)
        await counter.later(180.1)
        assert counter.changes == 1
        assert counter.reports == [("SW-APP-001", "shop", True)]
        counter.sales.status(SHOP, WELL)
        await settle()
        assert counter.reports[1] == ("SW-APP-001", "shop", False)
        await counter.later(90.1)
        assert counter.sales.facts().silent_s == pytest.approx(90.1)
        assert counter.reports[-1] == ("SW-APP-001", "shop", True)


async def test_faults_come_at_their_time_without_another_word() -> None:
    async with at_work(Counter()) as counter:
        counter.sales.status(SHOP, UNWELL)
        await counter.later(4.9)
        assert ("SW-APP-001", "shop", True) not in counter.reports
        await counter.later(0.2)
        assert ("SW-APP-001", "shop", True) in counter.reports
        for _ in range(15):
            counter.sales.status(SHOP, UNWELL)
            await counter.later(60.0)
        assert ("TXN-REV-001", "shop", True) in counter.reports
        counter.sales.status(SHOP, WELL)
        await settle()
        assert {("SW-APP-001", "shop", False), ("TXN-REV-001", "shop", False)} <= set(counter.reports[-2:])


async def test_what_a_program_that_came_by_left_behind_is_over_when_it_is_forgotten() -> None:
    stranger = Process(1000, 77, 1)
    async with at_work(Counter()) as counter:
        counter.sales.status(SHOP, WELL)
        for _ in range(16):
            counter.sales.status(SHOP, WELL)
            counter.sales.status(stranger, UNWELL)
            await counter.later(60.0)
        assert ("TXN-REV-001", "other_application", True) in counter.reports
        for _ in range(2):
            counter.sales.status(SHOP, WELL)
            await counter.later(60.0)
        assert counter.reports[-1] == ("TXN-REV-001", "other_application", False)
        assert counter.sales.facts() == Selling()
