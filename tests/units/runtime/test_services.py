"""Pulses tell who is stuck; a failed part is started again in its place."""

from __future__ import annotations

import asyncio

import pytest

from agent.runtime.backoff import Backoff
from agent.runtime.services import Pulses, in_own_task, run_restarting
from tests.kit.manual_clock import ManualClock


def test_a_loop_is_stalled_only_after_its_own_promise() -> None:
    clock = ManualClock()
    pulses = Pulses(clock)
    engine, monitor = pulses.add("engine"), pulses.add("monitor")
    engine.working(within_s=5)
    clock.advance(5)
    assert pulses.stalled() == []
    clock.advance(0.1)
    assert pulses.stalled() == ["engine"]
    monitor.working(within_s=1)
    engine.resting()
    clock.advance(3600)
    assert pulses.stalled() == ["monitor"]


def test_other_checks_count_too() -> None:
    pulses = Pulses(ManualClock())
    pulses.watch("writer", lambda: True)
    assert pulses.stalled() == ["writer"]


async def test_a_failing_part_is_restarted_with_growing_waits_and_told() -> None:
    clock = ManualClock()
    failures: list[tuple[str, str]] = []

    class Part:
        name = "part"
        runs = 0

        async def run(self) -> None:
            self.runs += 1
            if self.runs < 4:
                raise OSError("gone")
            await asyncio.Event().wait()

    part = Part()
    task = asyncio.create_task(
        run_restarting(part, Backoff(1, 8), clock, on_failure=lambda name, error: failures.append((name, error)))
    )
    while part.runs < 4:
        await asyncio.sleep(0)
        clock.advance(1)
    assert failures == [("part", "OSError")] * 3
    task.cancel()
    await asyncio.wait([task])


async def test_stopping_a_part_is_not_a_failure() -> None:
    class Part:
        name = "part"

        async def run(self) -> None:
            await asyncio.Event().wait()

    failures: list[tuple[str, str]] = []
    task = asyncio.create_task(
        run_restarting(Part(), Backoff(1, 8), ManualClock(), on_failure=lambda *told: failures.append(told))
    )
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert failures == []


async def test_a_part_that_cancels_itself_is_started_again_too() -> None:
    clock = ManualClock()
    failures: list[str] = []

    class Part:
        name = "part"
        runs = 0

        async def run(self) -> None:
            self.runs += 1
            if self.runs == 1:
                raise asyncio.CancelledError
            await asyncio.Event().wait()

    part = Part()
    task = asyncio.create_task(
        run_restarting(part, Backoff(1, 8), clock, on_failure=lambda name, _error: failures.append(name))
    )
    while part.runs < 2:
        await asyncio.sleep(0)
        clock.advance(1)
    assert failures == ["part"]
    task.cancel()
    await asyncio.wait([task])


async def _fails_beside_others() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise OSError("gone")

    async with asyncio.TaskGroup() as group:
        group.create_task(fail())
        group.create_task(asyncio.Event().wait())


async def test_a_failed_group_leaves_no_mark_on_the_loop_that_goes_on() -> None:
    """Or, in Python 3.11.2, the next time limit would look like the order to stop."""
    with pytest.raises(ExceptionGroup):
        await in_own_task(_fails_beside_others())
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()


async def test_cancelling_the_caller_cancels_what_it_waits_for() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(in_own_task(work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert ended.is_set()
