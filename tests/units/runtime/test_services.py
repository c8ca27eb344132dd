"""Pulses tell who is stuck; a failed part is started again in its place."""

from __future__ import annotations

import asyncio

from agent.runtime.backoff import Backoff
from agent.runtime.services import Pulses, run_restarting
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
