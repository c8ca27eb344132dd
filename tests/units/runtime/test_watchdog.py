"""systemd's watchdog is fed only while every loop keeps its promise."""

from __future__ import annotations

import asyncio

from agent.runtime.services import Pulses
from agent.runtime.systemd import Notifier
from agent.runtime.watchdog import Watchdog
from tests.kit.manual_clock import ManualClock


class _Heard(Notifier):
    def __init__(self) -> None:
        super().__init__(None)
        self.sent: list[tuple[str, ...]] = []

    def send(self, *lines: str) -> None:
        self.sent.append(lines)


async def test_pings_stop_while_a_loop_is_stuck_and_come_back_with_it() -> None:
    clock, heard = ManualClock(), _Heard()
    pulses = Pulses(clock)
    engine = pulses.add("engine")
    task = asyncio.create_task(Watchdog(heard, pulses, clock, interval_s=10, status=lambda: "fine").run())

    async def turn() -> tuple[str, ...]:
        count = len(heard.sent)
        clock.advance(10)
        while len(heard.sent) == count:
            await asyncio.sleep(0)
        return heard.sent[-1]

    while not heard.sent:
        await asyncio.sleep(0)
    assert heard.sent[-1] == ("WATCHDOG=1", "STATUS=fine")
    engine.working(within_s=15)
    assert await turn() == ("WATCHDOG=1", "STATUS=fine")
    assert await turn() == ("STATUS=no progress: engine",)
    assert await turn() == ("STATUS=no progress: engine",)
    engine.resting()
    assert await turn() == ("WATCHDOG=1", "STATUS=fine")
    task.cancel()
    await asyncio.wait([task])
