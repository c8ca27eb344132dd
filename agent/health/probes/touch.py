"""Touch panel: is it there. Source: `drivers.sysfs_contract.TouchReading`. Left out: whether it points right."""

from __future__ import annotations

from agent.contract.health import PowerState, State
from agent.health.probes.host import LINE_RULES
from agent.health.rules import Rule
from agent.health.sample import Sample
from drivers.sysfs_contract import ListedReading, TouchReading

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


def sample_of(reading: ListedReading) -> Sample:
    """A reading as a sample."""
    if not isinstance(reading, TouchReading):
        raise TypeError(f"not a touch panel's reading: {type(reading).__name__}")
    if reading.absence is not None:
        return Sample(False, {"missing": True}, {"present": 0}, {"missing": f"is missing: {reading.absence}"})
    return Sample(True, {}, {"present": 1})
