"""What commands are given to look at and to act with. Whoever builds the agent fills it in; what is left out is absent.

Commands know no room but by these few functions, so that a test can hand over as much of a terminal as it needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from msgspec import Struct, field

from agent.commands.operation import Touch
from agent.contract.backup_views import BackupKind, BackupResult, VerifyResult
from agent.contract.command import CommandState, Reason, ReasonCode
from agent.contract.health import DeviceHealth, HealthSnapshot
from agent.contract.journal_views import Verification
from agent.contract.selling import NOBODY_SELLS, Selling
from agent.machine.machine import Machine
from agent.runtime.clock import Clock, SystemClock
from agent.workflow.plan import Futile
from agent.workflow.roster import Cancellation
from drivers.contract import Device

Check = Callable[[str, str], Awaitable[Struct]]
"""Device and level → its health."""


class Copying(Protocol):
    """Backups, as commands need them; `agent.backup.copies.Backups`."""

    @property
    def targets(self) -> frozenset[str]: ...
    async def make(self, kind: BackupKind, target: str | None) -> BackupResult: ...
    async def verify(self, backup_id: str | None) -> VerifyResult: ...


async def _no_notes(_run_id: str, _name: str, _touch: Touch) -> tuple[Reason, ...]:
    return ()


async def _nothing_to_cancel(_command_id: str, _reason: Reason) -> Cancellation:
    return Cancellation.NOT_HERE


async def _nobody(_command_id: str) -> CommandState | None:
    return None


async def _no_link() -> bool:
    return False


class Means(Struct, frozen=True, kw_only=True):
    """
    Attributes:
        check: CheckHealth of a device or a part of the board.
        devices: Names that ``check`` takes.
        health: Everything as of now.
        ports: Devices that have a driver, by name.
        machine: Units and reboots; None where nobody carries such acts out.
        applications: Unit → name of every configured payment application.
        selling: Who sells, as of now.
        last_report_s: When (monotonic) the application of a unit last gave a status; None: never in this process.
        notes: What holds now and belongs in the result of an operation: for the run's id, its command, what it touches.
        verify_journal: Recomputes the transaction journal's chain; None where there is no journal.
        backups: Copies of the journal elsewhere; None where there is no journal.
        cancel: Gives a run up.
        find: The recorded state of an order.
        announce: Publishes birth and the own truth again; False without a link.
    """

    check: Check
    devices: Callable[[], frozenset[str]]
    health: Callable[[], HealthSnapshot] | None = None
    ports: Mapping[str, Device] = field(default_factory=dict)
    machine: Machine | None = None
    applications: Mapping[str, str] = field(default_factory=dict)
    selling: Callable[[], Selling] = lambda: NOBODY_SELLS
    last_report_s: Callable[[str], float | None] = lambda _unit: None
    notes: Callable[[str, str, Touch], Awaitable[tuple[Reason, ...]]] = _no_notes
    verify_journal: Callable[[], Awaitable[Verification]] | None = None
    backups: Copying | None = None
    cancel: Callable[[str, Reason], Awaitable[Cancellation]] = _nothing_to_cancel
    find: Callable[[str], Awaitable[CommandState | None]] = _nobody
    announce: Callable[[], Awaitable[bool]] = _no_link
    clock: Clock = field(default_factory=SystemClock)

    def the_machine(self) -> Machine:
        """The adapter, inside a step of an order that was admitted when there was one.

        Raises:
            Futile: There is none any more.
        """
        if self.machine is None:
            raise Futile("no machine adapter is configured any more", reason=ReasonCode.INVALID_ARGUMENTS)
        return self.machine

    def health_of(self, device: str) -> DeviceHealth | None:
        """A device's health as it is known now, without asking it."""
        known = self.health().devices if self.health is not None else ()
        return next((one for one in known if one.device == device), None)
