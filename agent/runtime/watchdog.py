"""Feeds systemd's watchdog, and only while everything makes progress: a daemon that hangs must be restarted."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from agent.runtime.clock import Clock
from agent.runtime.services import Pulses
from agent.runtime.systemd import Notifier

log = structlog.get_logger("watchdog")


class Watchdog:
    """A service. ``status`` gives the one line that ``systemctl status`` shows."""

    name = "watchdog"

    def __init__(
        self, notifier: Notifier, pulses: Pulses, clock: Clock, *, interval_s: float, status: Callable[[], str]
    ) -> None:
        self._notifier = notifier
        self._pulses = pulses
        self._clock = clock
        self._interval_s = interval_s
        self._status = status

    async def run(self) -> None:
        """Ping every ``interval_s`` seconds; say once who is stuck, and once when it goes on."""
        known: list[str] = []
        while True:
            stalled = self._pulses.stalled()
            if stalled != known:
                log.error("watchdog.withheld", stalled=stalled) if stalled else log.info("watchdog.resumed")
                known = stalled
            if stalled:
                self._notifier.send(f"STATUS=no progress: {', '.join(stalled)}")
            else:
                self._notifier.send("WATCHDOG=1", f"STATUS={self._status()}")
            await self._clock.sleep(self._interval_s)
