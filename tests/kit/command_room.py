"""The whole way of an order on a real store: inbox, journal, engine, and a broker's eye on what they want published."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agent.commands.catalog import build_commands
from agent.commands.command import Command
from agent.commands.inbox import Inbox
from agent.commands.intake import Identity, Intake
from agent.commands.means import Means
from agent.commands.operation import Touch
from agent.commands.planning import Planner
from agent.commands.security_log import SecurityLog
from agent.commands.survey import Survey
from agent.contract.command import CommandState, Reason
from agent.contract.policy import Policy
from agent.contract.selling import NOBODY_SELLS
from agent.contract.topics import Address
from agent.runtime.clock import Clock, SystemClock
from agent.runtime.services import Pulses
from agent.store.database import Database
from agent.trust.policy import load_policy
from agent.workflow.engine import Engine
from agent.workflow.journal import RunJournal
from agent.workflow.roster import Cancellation
from agent.workflow.transition import Run
from tests.kit.orders import signed_policy

TERMINAL, SERIAL = "T-0001", "SN123"
DEADLINE_S = 10.0


class Health(Struct, frozen=True):
    """Stands for a device's health: commands take whatever struct the check answers."""

    device: str
    state: str


class Shelf:
    """Devices that count how often they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.before_answer: Callable[[], Awaitable[None]] | None = None

    async def check(self, device: str, level: str) -> Struct:
        self.asked.append((device, level))
        if self.before_answer is not None:
            await self.before_answer()
        return Health(device, "ok")

    def devices(self) -> frozenset[str]:
        return frozenset({"printer-0"})


class Room:
    """All parts, made as the composition root makes them. How the terminal is can be changed at will.

    ``more``: commands beside those of the release; ``terminal``: fields of `Means` in place of a terminal that has
    nothing but the shelf's devices.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock | None = None,
        policy: Policy | None = None,
        more: Mapping[str, Command[Any]] | None = None,
        terminal: Mapping[str, Any] | None = None,
        spread_s: float = 0.0,
        database: Callable[[Path, Clock], Database] = Database,
    ) -> None:
        self.clock = clock or SystemClock()
        self.trusted = True
        self.policy = policy
        self.shelf = Shelf()
        self.reports: list[tuple[str, str, bool, str]] = []
        self.database = database(folder / "agent.db", self.clock)
        self.journal = RunJournal(self.database, self.clock)
        self.selling = NOBODY_SELLS
        self.battery_pct: float | None = None
        self.since_boot_s: float | None = None
        self.unsettled: str | None = None
        survey = Survey(
            self.clock,
            lambda: self.trusted,
            self.journal,
            self._touch_of,
            selling=lambda: self.selling,
            battery_pct=lambda: self.battery_pct,
            since_boot_s=lambda: self.since_boot_s,
            unsettled_batch=self._unsettled,
            local_time=lambda now: now.time(),
        )
        means = Means(
            check=self.shelf.check,
            devices=self.shelf.devices,
            notes=survey.notes,
            cancel=self._cancel,
            find=self.journal.get,
            selling=lambda: self.selling,
            clock=self.clock,
        )
        means = replace(means, **(terminal or {}))
        self.planner = planner = Planner({**build_commands(means), **(more or {})}, survey)
        pulse = Pulses(self.clock).add("engine")
        self.engine = Engine(self.journal, planner.plan_for, planner.gate_for, self.clock, pulse)
        address = Address("site-1", TERMINAL)
        self.security = SecurityLog(self.database, self.clock, address, lambda *told: self.reports.append(told))
        self.inbox = Inbox(
            database=self.database,
            journal=self.journal,
            intake=Intake(planner, lambda: self.policy, Identity(TERMINAL, SERIAL), self.clock),
            security=self.security,
            start=self.engine.take,
            clock=self.clock,
            clock_trusted=lambda: self.trusted,
            spread_s=lambda: spread_s,
        )

    def _touch_of(self, run: Run) -> Touch | None:
        return self.planner.touch_of(run)

    async def _cancel(self, command_id: str, reason: Reason) -> Cancellation:
        return await self.engine.cancel(command_id, reason)

    async def _unsettled(self) -> str | None:
        return self.unsettled

    async def receive(
        self, envelope: bytes, command: str = "ping", *, retained: bool = False, site: bool = False
    ) -> None:
        await self.inbox.receive(command, envelope, retained, site)

    async def outbox(self) -> list[tuple[str, bytes]]:
        """What waits for the broker: topic below the terminal and payload."""
        return await self.database.read(
            lambda db: [(row[0], bytes(row[1])) for row in db.execute("SELECT below, payload FROM outbox ORDER BY id")]
        )

    async def told(self, command_id: str) -> CommandState | None:
        """The state message of an order that waits for the broker."""
        for topic, payload in await self.outbox():
            if topic.startswith("agent/op/") and topic.endswith(f"/{command_id}") and payload:
                return msgspec.json.decode(payload, type=CommandState)
        return None

    async def rows(self) -> int:
        return await self.database.read(lambda db: int(db.execute("SELECT count(*) FROM commands").fetchone()[0]))

    async def state(self, command_id: str) -> CommandState:
        state = await self.journal.get(command_id)
        assert state is not None
        return state

    async def ended(self, command_id: str) -> CommandState:
        """Wait for the final state."""
        await until(lambda: self._is_final(command_id))
        return await self.state(command_id)

    async def reached(self, command_id: str, wanted: str) -> CommandState:
        """Wait for a state."""

        async def there() -> bool:
            return (await self.state(command_id)).state == wanted

        await until(there)
        return await self.state(command_id)

    async def _is_final(self, command_id: str) -> bool:
        return (await self.state(command_id)).state.is_final


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until ``condition`` holds; fail after 10 s."""
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def open_room(folder: Path, *, engine: bool = True, inbox: bool = False, **options: Any) -> AsyncIterator[Room]:
    """A running room; ``engine`` and ``inbox`` say which loops run. Without ``policy`` it has the usual one."""
    options.setdefault("policy", load_policy(signed_policy()))
    room = Room(folder, **options)
    room.database.open()
    loops = [asyncio.ensure_future(part.run()) for part, on in ((room.engine, engine), (room.inbox, inbox)) if on]
    try:
        yield room
    finally:
        for loop in loops:
            loop.cancel()
        results = await asyncio.gather(*loops, return_exceptions=True)
        await room.database.close()
        failures = [result for result in results if not isinstance(result, asyncio.CancelledError)]
        assert not failures, failures
