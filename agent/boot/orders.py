"""Orders: the catalog of commands, the engine that carries them out, and the inbox that lets them in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from msgspec import Struct

from agent.commands.catalog import build_commands
from agent.commands.inbox import Inbox
from agent.commands.intake import Identity as OrderIdentity
from agent.commands.intake import Intake
from agent.commands.means import Copying, Means
from agent.commands.operation import Touch
from agent.commands.planning import Planner
from agent.commands.security_log import SecurityLog
from agent.commands.survey import Survey
from agent.config import Settings
from agent.contract.command import Reason
from agent.contract.policy import Policy
from agent.contract.selling import NOBODY_SELLS, Selling
from agent.contract.topics import Address
from agent.health.monitor import Monitor
from agent.machine.machine import Machine
from agent.runtime.boot_identity import read_uptime_s
from agent.runtime.clock import Clock
from agent.runtime.services import Pulses
from agent.store.database import Database
from agent.store.transactions import TransactionJournal
from agent.trust.clock_trust import clock_trust
from agent.workflow.engine import Engine
from agent.workflow.journal import RunJournal
from agent.workflow.roster import Cancellation
from agent.workflow.transition import Run
from drivers.contract import Device
from drivers.host.clock import read_kernel_clock


class Orders(Struct, frozen=True):
    """``names``: of all commands, for the birth message."""

    engine: Engine
    inbox: Inbox
    runs: RunJournal
    security: SecurityLog
    names: tuple[str, ...]


class Around(Struct, frozen=True):
    """What orders need of parts that stand beside them.

    Attributes:
        ports: Devices that have a driver.
        machine: None where nobody carries out acts on units and the machine.
        selling: Who sells, as of now.
        last_report_s: When the application of a unit last gave a status.
        battery_pct: Charge while running on battery.
        announce: Publishes birth and the own truth again.
        backups: Copies of the journal elsewhere.
    """

    ports: Sequence[Device]
    announce: Callable[[], Awaitable[bool]]
    machine: Machine | None = None
    selling: Callable[[], Selling] = lambda: NOBODY_SELLS
    last_report_s: Callable[[str], float | None] = lambda _unit: None
    battery_pct: Callable[[], float | None] = lambda: None
    backups: Copying | None = None


def build_orders(
    settings: Settings,
    *,
    policy: Callable[[], Policy | None],
    policy_is_unusable: bool,
    database: Database,
    clock: Clock,
    pulses: Pulses,
    address: Address,
    monitor: Monitor,
    journal: TransactionJournal,
    around: Around,
) -> Orders:
    """Everything between an order's arrival and its final state."""
    runs = RunJournal(database, clock)
    trusted = clock_trust(settings.clock.trust, read_kernel_clock)

    def touch_of(run: Run) -> Touch | None:
        return planner.touch_of(run)

    async def cancel(command_id: str, reason: Reason) -> Cancellation:
        return await engine.cancel(command_id, reason)

    survey = Survey(
        clock,
        trusted,
        runs,
        touch_of,
        selling=around.selling,
        battery_pct=around.battery_pct,
        since_boot_s=lambda: read_uptime_s(Path(settings.paths.procfs)),
        unsettled_batch=journal.unsettled_batch,
    )
    means = Means(
        check=monitor.check,
        devices=monitor.devices,
        health=monitor.snapshot,
        ports={device.name: device for device in around.ports},
        machine=around.machine,
        applications={one.unit: one.name for one in settings.application},
        selling=around.selling,
        last_report_s=around.last_report_s,
        notes=survey.notes,
        verify_journal=journal.verify,
        backups=around.backups,
        cancel=cancel,
        find=runs.get,
        announce=around.announce,
        clock=clock,
    )
    planner = Planner(build_commands(means), survey)
    engine = Engine(runs, planner.plan_for, planner.gate_for, clock, pulses.add("engine"))
    security = SecurityLog(database, clock, address, monitor.report)
    identity = OrderIdentity(settings.terminal.terminal, settings.terminal.serial)
    inbox = Inbox(
        database=database,
        journal=runs,
        intake=Intake(planner, policy, identity, clock, policy_is_unusable=policy_is_unusable),
        security=security,
        start=engine.take,
        clock=clock,
        clock_trusted=trusted,
    )
    return Orders(engine, inbox, runs, security, planner.names)
