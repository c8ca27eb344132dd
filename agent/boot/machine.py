"""Who acts on the machine below the agent: systemd through its root helper, the supervisor, or nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agent.config import Settings
from agent.machine.machine import Machine
from agent.runtime.clock import Clock

_SYSTEMD_RUNS: Final = Path("/run/systemd/system")
"""There exactly where systemd is process 1. Source: ``sd_booted(3)``."""


def build_machine(settings: Settings, clock: Clock) -> Machine | None:
    """The adapter that ``[machine]`` asks for; None where orders to units and machine have nobody to carry them out."""
    chosen = settings.machine
    kind = chosen.kind or ("systemd" if _SYSTEMD_RUNS.is_dir() else "none")
    units = frozenset((*chosen.units, *(application.unit for application in settings.application)))
    procfs = Path(settings.paths.procfs)
    if kind == "supervisor" and chosen.socket is not None:
        from agent.machine.supervised import SupervisedMachine  # noqa: PLC0415  # only one of the two is ever needed

        return SupervisedMachine(Path(chosen.socket), units=units, own_unit=chosen.own_unit, procfs=procfs)
    if kind == "systemd":
        from agent.machine.systemd import SystemdMachine  # noqa: PLC0415

        run = Path(settings.paths.run)
        return SystemdMachine(run, clock, units=units, own_unit=chosen.own_unit, procfs=procfs)
    return None
