"""Waiting for an event or for a time, whichever comes first, on the clock that tests move by hand."""

from __future__ import annotations

import asyncio

from agent.runtime.clock import Clock


async def wait_for(event: asyncio.Event, clock: Clock, at_most_s: float | None) -> None:
    """Return when ``event`` is set or ``at_most_s`` seconds are over; None waits for the event alone, at no cost.

    The event is left as it is, but for being set when the time is over.
    """
    if at_most_s is None:
        await event.wait()
        return
    timer = asyncio.ensure_future(clock.sleep(at_most_s))
    # Not when it is cancelled: that callback runs after the return, and would wake whoever waits next, who cancels …
    timer.add_done_callback(lambda over: None if over.cancelled() else event.set())
    try:
        await event.wait()
    finally:
        timer.cancel()
