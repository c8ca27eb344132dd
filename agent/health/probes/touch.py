"""Touch panel: is it there. Source: `drivers.sysfs_contract.TouchReading`. Left out: whether it points right."""

from __future__ import annotations

from agent.contract.health import PowerState, State
from agent.health.probes.host import LINE_RULES
from agent.health.rules import Rule
from agent.health.sample import Sample
from drivers.contract import Device
from drivers.sysfs_contract import TouchDevice

OK_DETAIL = "attached; whether it points right only a person can tell"

RULES: tuple[Rule, ...] = (
    *LINE_RULES,
    Rule(
        "missing",
        "missing",
        State.FAILED,
        "is missing",
        "HW-SCR-003",
        blinds=True,
        power_state=PowerState.OFF,
        absent=False,
    ),
)


def sample_of_device(device: Device) -> Sample:
    """One look, in a thread. Raises `HostSourceError`."""
    if not isinstance(device, TouchDevice):
        raise TypeError(f"not a touch panel: {type(device).__name__}")
    absence = device.read().absence
    if absence is not None:
        return Sample(False, {"missing": True}, {"present": 0}, {"missing": f"is missing: {absence}"})
    return Sample(True, {}, {"present": 1})
