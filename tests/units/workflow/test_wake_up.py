"""Waiting for an event or a time: who was woken by one of them is not woken by it a second time."""

from __future__ import annotations

import asyncio

import pytest

from agent.runtime.clock import SystemClock
from agent.workflow.wake_up import wait_for
from tests.kit.manual_clock import ManualClock


async def _turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("at_most_s", [None, 60.0])
async def test_an_event_that_was_cleared_stays_cleared(at_most_s: float | None) -> None:
    """The cancelled timer must not set it again: a loop around this would spin from the first event on."""
    event, clock = asyncio.Event(), SystemClock()
    waiting = asyncio.ensure_future(wait_for(event, clock, at_most_s))
    await _turns()
    event.set()
    await waiting
    event.clear()
    await _turns()
    assert not event.is_set()


async def test_a_loop_around_it_sleeps_after_an_event() -> None:
    event, clock, rounds = asyncio.Event(), ManualClock(), 0

    async def loop() -> None:
        nonlocal rounds
        while True:
            event.clear()
            rounds += 1
            await wait_for(event, clock, 60.0)

    running = asyncio.ensure_future(loop())
    await _turns()
    event.set()
    await _turns(50)
    assert rounds == 2
    clock.advance(60.0)
    await _turns(50)
    assert rounds == 3
    running.cancel()
    await asyncio.wait([running])


async def test_the_time_wakes_and_sets_the_event() -> None:
    event, clock = asyncio.Event(), ManualClock()
    waiting = asyncio.ensure_future(wait_for(event, clock, 5.0))
    await _turns()
    assert not waiting.done()
    clock.advance(5.0)
    await _turns()
    assert waiting.done()
    assert event.is_set()
