"""Heat: how far the hottest sensor is from its own trip point, and whether the board slows itself down because of it.

Source: `drivers.host_contract.ThermalReading`. Judged against hot and critical; against passive only where a sensor has
neither. A sensor without a trip point is shown, and judged only where the model file gives a limit.
"""

from __future__ import annotations

from agent.contract.health import State, Thresholds
from agent.health.probes.host import LINE_RULES, NONE_HERE
from agent.health.rules import Hold, Limit, Rule
from agent.health.sample import Sample, Seen
from drivers.host_contract import HostReading, ThermalReading, ThermalZone

CODE = "HST-THM-001"


def rules(limits: Thresholds) -> tuple[Rule, ...]:
    """How heat is judged."""
    limit = limits.temperature
    hold = Hold(samples=2 if limit.for_s else 1, seconds=limit.for_s)
    steps: list[Rule] = []
    for state, below_c in ((State.FAILED, limit.failed_below_c), (State.DEGRADED, limit.degraded_below_c)):
        away, near = Limit(below_c, below_c + limit.margin_c), "{:.0f} °C below its limit"
        steps.append(Rule(f"margin_{state.value}", "margin", state, near, CODE, away, confirm=hold, release=hold))
        if limit.limit_c is not None:
            at = Limit(limit.limit_c - below_c, limit.limit_c - below_c - limit.margin_c)
            steps.append(
                Rule(f"plain_{state.value}", "plain", state, "{:.0f} °C", CODE, at, confirm=hold, release=hold)
            )
    throttled = Rule(
        "throttled", "throttled", State.DEGRADED, "slows itself down because of heat", CODE, confirm=hold, release=hold
    )
    no_value = Rule(
        "no_value",
        "no_value",
        State.UNKNOWN,
        "no sensor gives a temperature",
        confirm=Hold(2),
        blinds=True,
        absent=False,
    )
    return (*LINE_RULES, no_value, *steps, throttled)


def sample_of(reading: HostReading) -> Sample:
    """A reading as a sample."""
    if not isinstance(reading, ThermalReading):
        raise TypeError(f"not a thermal reading: {type(reading).__name__}")
    if not reading.zones:
        return NONE_HERE
    told = [(zone.temp_c, zone) for zone in reading.zones if zone.temp_c is not None]
    if not told:
        return Sample(False, {"no_value": True})
    margins = [(trip_c - temp_c, temp_c, zone) for temp_c, zone in told if (trip_c := _trip_c(zone)) is not None]
    plain = [(temp_c, zone) for temp_c, zone in told if _trip_c(zone) is None]
    seen: dict[str, Seen] = {"throttled": reading.throttling > 0, "margin": None, "plain": None}
    details = {}
    if margins:
        margin_c, temp_c, zone = min(margins, key=lambda one: one[0])
        seen["margin"] = margin_c
        side = "below" if margin_c > 0 else "above"
        details["margin"] = f"{temp_c:.0f} °C at {zone.kind or zone.name}, {abs(margin_c):.0f} °C {side} its limit"
    if plain:
        temp_c, zone = max(plain, key=lambda one: one[0])
        seen["plain"] = temp_c
        details["plain"] = f"{temp_c:.0f} °C at {zone.kind or zone.name}"
    return Sample(
        True,
        seen,
        {
            "temperature_c": max(temp_c for temp_c, _zone in told),
            "temperature_margin_c": None if seen["margin"] is None else round(seen["margin"], 1),
            "throttling": reading.throttling,
        },
        details,
    )


def _trip_c(zone: ThermalZone) -> float | None:
    trips = [trip_c for trip_c in (zone.hot_c, zone.critical_c) if trip_c is not None]
    return min(trips) if trips else zone.passive_c
