"""Who sells: leases and statuses of payment applications, and what they hold back."""

from __future__ import annotations

from collections.abc import Callable

from agent.config import Settings
from agent.runtime.clock import Clock
from agent.runtime.process_identity import supervised_unit_of, unit_of
from agent.selling.selling import Lock, Report, Sales
from agent.workflow.roster import RunningOperation


def build_sales(
    settings: Settings,
    *,
    clock: Clock,
    report: Report,
    operation: Callable[[], RunningOperation | None],
    lock: Callable[[], Lock | None] = lambda: None,
) -> Sales:
    """The desk for the applications that the configuration names."""
    configured = {one.unit: one.name for one in settings.application}
    whose = supervised_unit_of if settings.machine.kind == "supervisor" else unit_of
    return Sales(configured, clock, report=report, operation=operation, lock=lock, unit_of=whose)
