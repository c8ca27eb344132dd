"""Orders: the catalog of commands, the engine that carries them out, and the inbox that lets them in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.commands.catalog import build_commands
from agent.commands.inbox import Inbox
from agent.commands.intake import Identity as OrderIdentity
from agent.commands.intake import Intake
from agent.commands.planning import Planner
from agent.commands.security_log import SecurityLog
from agent.config import Settings
from agent.contract.policy import Policy
from agent.contract.topics import Address
from agent.health.monitor import Monitor
from agent.runtime.clock import Clock
from agent.runtime.services import Pulses
from agent.store.database import Database
from agent.trust.clock_trust import clock_trust
from agent.workflow.engine import Engine
from agent.workflow.journal import RunJournal
from drivers.host.clock import read_kernel_clock


@dataclass(frozen=True)
class Orders:
    """``names``: of all commands, for the birth message."""

    engine: Engine
    inbox: Inbox
    runs: RunJournal
    security: SecurityLog
    names: tuple[str, ...]


def build_orders(
    settings: Settings,
    *,
    policy: Callable[[], Policy | None],
    database: Database,
    clock: Clock,
    pulses: Pulses,
    address: Address,
    monitor: Monitor,
) -> Orders:
    """Everything between an order's arrival and its final state."""
    runs = RunJournal(database, clock)
    trusted = clock_trust(settings.clock.trust, read_kernel_clock)
    planner = Planner(build_commands(check=monitor.check, devices=monitor.devices), clock, trusted)
    engine = Engine(runs, planner.plan_for, planner.gate_for, clock, pulses.add("engine"))
    security = SecurityLog(database, clock, address, monitor.report)
    identity = OrderIdentity(settings.terminal.terminal, settings.terminal.serial)
    inbox = Inbox(
        database=database,
        journal=runs,
        intake=Intake(planner, policy, identity, clock),
        security=security,
        start=engine.take,
        clock=clock,
        clock_trusted=trusted,
    )
    return Orders(engine, inbox, runs, security, planner.names)
