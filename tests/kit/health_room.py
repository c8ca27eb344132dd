"""A monitor with its real store and real sources, for the tests of room health."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from agent.contract.health import Thresholds
from agent.health.catalog import Judging, host_subjects
from agent.health.monitor import Monitor
from agent.health.reported import Delay
from agent.health.sample import Value
from agent.health.subject import Subject
from agent.runtime.clock import Clock, SystemClock
from agent.runtime.services import Pulses
from agent.store.database import Database
from agent.store.outbox import Outbox
from drivers.catalog import HOST_SOURCES
from drivers.host_contract import Board
from tests.kit.host_tree import HostTree

SOURCE = "pos/v1/shop-1/T-0001"


async def until(condition: Callable[[], object], *, timeout_s: float = 20.0) -> None:
    """Return once ``condition`` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s")
        await asyncio.sleep(0.01)


@dataclass
class HealthRoom:
    """``monitor`` on ``database``; ``gauges`` is what it handed out, by group; ``told`` is every change, in order."""

    monitor: Monitor
    database: Database
    pulses: Pulses
    gauges: dict[str, dict[str, Value]] = field(default_factory=dict)
    told: list[tuple[str, object]] = field(default_factory=list)

    def state(self, device: str) -> tuple[str, str]:
        """State and power state."""
        (health,) = [one for one in self.monitor.snapshot().devices if one.device == device]
        return health.state.value, health.power_state.value

    def faults(self) -> dict[str, str]:
        """Code → impact."""
        return {fault.code: fault.impact.value for fault in self.monitor.snapshot().faults}

    def ready(self) -> bool:
        return self.monitor.snapshot().readiness.ready

    async def messages(self, below: str = "") -> list[Any]:
        """Payloads that wait in the outbox, oldest first; of one topic or of all."""
        rows = await Outbox(self.database).waiting(0, 10_000)
        return [
            msgspec.json.decode(row.publication.payload) if row.publication.payload else None
            for row in rows
            if not below or row.publication.below == below
        ]

    async def awaited(self, below: str, count: int = 1) -> list[Any]:
        """The same, once at least ``count`` of them are stored."""
        deadline = time.monotonic() + 20.0
        while len(found := await self.messages(below)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} messages of {below}"
            await asyncio.sleep(0.01)
        return found


@contextlib.asynccontextmanager
async def health_room(
    folder: Path,
    subjects: Sequence[Subject],
    *,
    clock: Clock | None = None,
    running: bool = True,
    interval_s: float = 0.05,
    deadline_s: float = 0.4,
    delays: Mapping[str, Delay] | None = None,
) -> AsyncIterator[HealthRoom]:
    """A monitor that runs until the block ends; the same ``folder`` again is the same terminal after a restart."""
    clock = clock or SystemClock()
    database = Database(folder / "agent.db", clock)
    database.open()
    pulses = Pulses(clock)
    gauges: dict[str, dict[str, Value]] = {}
    told: list[tuple[str, object]] = []
    monitor = Monitor(
        subjects,
        database=database,
        clock=clock,
        pulse=pulses.add("health"),
        gauge=lambda group, values: gauges.setdefault(group, {}).update(values),
        source=SOURCE,
        interval_s=interval_s,
        read_deadline_s=deadline_s,
        delays=delays or {},
        on_change=lambda kind, now: told.append((kind, now)),
    )
    task = asyncio.create_task(monitor.run()) if running else None
    try:
        if not running:
            await monitor.restore()
        yield HealthRoom(monitor, database, pulses, gauges, told)
    finally:
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await database.close()


def board(tree: HostTree, watched: Path = Path("/"), limits: Thresholds | None = None) -> list[Subject]:
    """All parts of the emulated board."""
    board = Board(tree.procfs, tree.sysfs, watched)
    return host_subjects([make(board) for make in HOST_SOURCES.values()], Judging(limits or Thresholds()))
