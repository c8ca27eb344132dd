"""The whole agent inside the test's own loop, on a clock moved by hand: a day passes as fast as the work in it is done.

Everything else is real: its SQLite file and writer thread, its sockets, its MQTT session, its devices. Time moves only
while no part is in the middle of something, from one sleeper's due time to the next, so nothing is late by itself.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.boot import process
from agent.boot.trust import read_trust
from agent.config import load
from agent.runtime.stop_signals import StopSignals
from agent.store import marks
from agent.store.database import Database, Worth
from tests.kit.manual_clock import ManualClock

QUIET_LOOKS = 2
LOOK_S = 0.0005
BUSY_LIMIT_S = 30.0


@dataclass(frozen=True)
class Footprint:
    """What the process holds. ``objects``: of Python, after a collection."""

    threads: int
    descriptors: int
    tasks: int
    sleeping: int
    objects: int


class _StoreClock:
    """Of the store: it stamps by the agent's time, but how long a commit takes is a matter of the machine's."""

    def __init__(self, clock: ManualClock) -> None:
        self.now = clock.now
        self.sleep = clock.sleep
        self.monotonic = time.monotonic


class AgentInTime:
    """One running agent."""

    def __init__(self, clock: ManualClock, database: Database, agent: process._Agent) -> None:
        self.clock = clock
        self._database = database
        self._agent = agent

    async def pass_time(self, duration_s: float, *, longest_step_s: float = 600.0) -> None:
        """Let ``duration_s`` of the agent's time go by."""
        end_s = self.clock.monotonic() + duration_s
        while (left_s := end_s - self.clock.monotonic()) > 0:
            await self.quiet()
            due_s = self.clock.next_due_in_s()
            self.clock.advance(min(left_s, longest_step_s, max(due_s, 0.0) if due_s is not None else left_s))
        await self.quiet()

    async def quiet(self) -> None:
        """Return once nothing is under way, as the watchdog sees it, and no job waits for the store."""
        looks, began_s = 0, time.monotonic()
        while looks < QUIET_LOOKS:
            await asyncio.sleep(LOOK_S)
            busy = self._database.metrics().waiting or any(
                pulse._due is not None for pulse in self._agent._pulses._pulses
            )
            looks = 0 if busy else looks + 1
            assert time.monotonic() - began_s < BUSY_LIMIT_S, "a part never came to rest"

    async def count_as_backed_up(self, upto: int) -> None:
        """As a verified backup does that reaches up to an entry."""
        await self._database.write(lambda db: marks.set_backed_up(db, upto), worth=Worth.AUDIT)

    def footprint(self) -> Footprint:
        """Now; call it while the agent is quiet."""
        gc.collect()
        return Footprint(
            threads=threading.active_count(),
            descriptors=len(os.listdir("/proc/self/fd")),
            tasks=len(asyncio.all_tasks()),
            sleeping=self.clock.sleeping,
            objects=len(gc.get_objects()),
        )


@asynccontextmanager
async def agent_in_time(config_file: Path, clock: ManualClock, patch: pytest.MonkeyPatch) -> AsyncIterator[AgentInTime]:
    """Start it as the daemon starts, and end it as SIGTERM does; it must end well."""
    loaded = load(config_file)
    patch.setattr(process, "SystemClock", lambda: clock)
    for folder in (loaded.settings.paths.state, loaded.settings.paths.run):
        os.makedirs(folder, exist_ok=True)
    database = Database(Path(loaded.settings.paths.state) / "agent.db", _StoreClock(clock))
    database.open()
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        agent = process._Agent(loaded, database, StopSignals(), *read_trust(loaded.settings, None))
        serving = asyncio.ensure_future(agent.serve())
        control = Path(loaded.settings.paths.run) / "control.sock"
        while not control.exists():
            assert not serving.done(), serving.exception()
            await asyncio.sleep(0.01)
        yield AgentInTime(clock, database, agent)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(BUSY_LIMIT_S):
            while not serving.done():
                clock.advance(0.1)
                await asyncio.sleep(0.01)
        assert serving.result() == 0
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        await database.close()
