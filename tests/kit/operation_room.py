"""A terminal for tests of operations: devices, a machine on paper, applications, readiness, to be changed at will."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent.contract.command import CommandState, ReasonCode, State
from agent.contract.health import DeviceHealth, HealthSnapshot, PowerState, Readiness, ReadinessReason
from agent.contract.health import State as Health
from agent.contract.journal_views import Verification
from agent.contract.selling import Selling
from tests.kit.command_room import Room, open_room, until
from tests.kit.manual_clock import ManualClock
from tests.kit.orders import OPERATOR, SECOND_OPERATOR, Signer, order_payload, signed_order
from tests.kit.paper_machine import PAYMENT, PaperMachine

AT = "2026-11-21T02:00:00.000Z"
ONE, BOTH = (OPERATOR,), (OPERATOR, SECOND_OPERATOR)


class Printer:
    """A device that can recover and be initialised, and counts it."""

    name, category = "printer-0", "pos_printer"

    def __init__(self) -> None:
        self.recoveries = self.initialisations = self.closes = 0
        self.error: Exception | None = None
        self.state = Health.OK

    async def recover(self, deadline_s: float) -> None:
        self.recoveries += 1
        await self._act()

    async def initialise(self, deadline_s: float) -> None:
        self.initialisations += 1
        await self._act()

    async def close(self) -> None:
        self.closes += 1

    async def _act(self) -> None:
        if self.error is not None:
            raise self.error


class Keypad:
    """A device with nothing to reset."""

    name, category = "keypad-0", "pos_keyboard"

    async def close(self) -> None:
        return None


class Place:
    """A terminal: two devices, a machine, a payment application that reports or not, readiness."""

    def __init__(self) -> None:
        self.printer = Printer()
        self.machine: PaperMachine | None = PaperMachine()
        self.ready = True
        self.intact = True
        self.clock = ManualClock()
        self.heard_s: dict[str, float] = {}
        self.asked: list[tuple[str, str]] = []
        self.applications = {PAYMENT: "shop"}
        self.selling = Selling()

    def means(self) -> dict[str, Any]:
        return {
            "check": self.check,
            "devices": lambda: frozenset({"printer-0", "keypad-0", "memory"}),
            "health": self.health,
            "ports": {"printer-0": self.printer, "keypad-0": Keypad()},
            "machine": self.machine,
            "applications": self.applications,
            "last_report_s": self.heard_s.get,
            "verify_journal": self.verify,
            "selling": lambda: self.selling,
        }

    async def check(self, device: str, level: str) -> DeviceHealth:
        self.asked.append((device, level))
        return DeviceHealth(device, "pos_printer", self.printer.state, PowerState.ONLINE, "as it is", AT, AT)

    async def verify(self) -> Verification:
        return Verification(self.intact, 41, [])

    def health(self) -> HealthSnapshot:
        printer = DeviceHealth("printer-0", "pos_printer", self.printer.state, PowerState.ONLINE, "as it is", AT, AT)
        reasons = () if self.ready else (ReadinessReason("HW-PRN-002", "paper end", AT),)
        return HealthSnapshot((printer,), (), Readiness(self.ready, reasons, AT), AT)

    def room(self, folder: Path) -> Any:
        return open_room(folder, terminal=self.means(), clock=self.clock)


async def send(
    room: Room, name: str, arguments: Mapping[str, Any], signers: Sequence[Signer] = ONE, **fields: Any
) -> str:
    """Order it, signed; its id."""
    payload = order_payload(name, arguments, issued_at=room.clock.now(), **fields)
    await room.receive(signed_order(payload, signers), name)
    return str(payload["command_id"])


async def ended(room: Room, place: Place, command_id: str, step_s: float = 1.0) -> CommandState:
    """The final state, while time goes on."""

    async def there() -> bool:
        place.clock.advance(step_s)
        return (await room.state(command_id)).state.is_final

    await until(there)
    return await room.state(command_id)


async def done(
    place: Place, folder: Path, name: str, arguments: Mapping[str, Any], signers: Sequence[Signer] = ONE
) -> CommandState:
    """The final state of one order on a terminal of its own."""
    async with place.room(folder) as room:
        return await ended(room, place, await send(room, name, arguments, signers))


def result_of(state: CommandState) -> dict[str, Any]:
    """The result of an order."""
    found: dict[str, Any] = msgspec.json.decode(state.result)
    return found


def why(state: CommandState) -> tuple[State, ReasonCode | None]:
    """State and code of the reason."""
    return state.state, state.reason.code if state.reason else None


async def true(value: bool) -> bool:
    """For `until`: whether something holds now."""
    return value
