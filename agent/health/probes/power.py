"""The battery: how much is left while nothing charges it, and what it says of itself.

Source: `drivers.host_contract.PowerReading`. On the charger nothing runs out, whatever the capacity. That the charger
is out is no fault of a terminal with a battery. Left out: ageing; a swollen cell cannot be seen by any program.
"""

from __future__ import annotations

import math

from agent.contract.health import State, Thresholds
from agent.health.probes.host import LINE_RULES, NONE_HERE, two_steps
from agent.health.rules import Hold, Rule
from agent.health.sample import Sample
from drivers.host_contract import Battery, HostReading, PowerReading

CODE = "HW-PWR-002"

_FINE = frozenset({None, "Good", "Unknown", "Warm", "Cool"})
_BROKEN = frozenset({"Dead", "Over voltage", "Unspecified failure"})
_TWICE = Hold(samples=2)


def rules(limits: Thresholds) -> tuple[Rule, ...]:
    """How the battery is judged."""
    left = two_steps("battery_left", "HW-PWR-001", "{:.0f} % left", limits.battery_available, lower_is_worse=True)
    broken = Rule("broken_cell", "broken_cell", State.FAILED, "the battery is broken", CODE, confirm=_TWICE)
    unwell = Rule("unwell", "unwell", State.DEGRADED, "the battery is not in good health", CODE, confirm=_TWICE)
    return (*LINE_RULES, broken, unwell, *left)


def sample_of(reading: HostReading) -> Sample:
    """A reading as a sample."""
    if not isinstance(reading, PowerReading):
        raise TypeError(f"not a reading of power: {type(reading).__name__}")
    mains = None if reading.mains_online is None else int(reading.mains_online)
    if not reading.batteries:
        return Sample(False, NONE_HERE.seen, {} if mains is None else {"mains_online": mains})
    left = [_left_pct(one, reading.mains_online) for one in reading.batteries]
    told = [one.capacity_pct for one in reading.batteries if one.capacity_pct is not None]
    temps = [one.temp_c for one in reading.batteries if one.temp_c is not None]
    complaints = [f"{one.name} says: {one.health}" for one in reading.batteries if one.health not in _FINE]
    words = "; ".join(complaints)
    return Sample(
        True,
        {
            "battery_left": min((pct for pct in left if pct is not None), default=None),
            "broken_cell": any(one.health in _BROKEN for one in reading.batteries),
            "unwell": bool(complaints),
        },
        {
            "battery_pct": min(told, default=None),
            "battery_c": max(temps, default=None),
            "mains_online": mains,
        },
        {"broken_cell": words, "unwell": words} if words else {},
    )


def _left_pct(battery: Battery, mains_online: bool | None) -> float | None:
    """What is left of one that is being used up; no end in sight for one that is not."""
    if battery.status in {"Charging", "Full", "Not charging"} or (battery.status != "Discharging" and mains_online):
        return math.inf
    return None if battery.capacity_pct is None else float(battery.capacity_pct)
