"""Screen: connector, identification and backlight. At best no fault is found: nobody here sees the picture.

Source: `drivers.sysfs_contract.ScreenReading`, and the rules of the trade: a display switched off is in standby, unless
the model says that it must be on; a backlight at zero behind a display that is on is a dark screen.
"""

from __future__ import annotations

from agent.contract.health import PowerState, State
from agent.health.probes.host import LINE_RULES
from agent.health.rules import Hold, Rule
from agent.health.sample import Sample, Seen, Value
from drivers.sysfs_contract import Backlight, Connector, ListedReading, ScreenReading

OK_DETAIL = "no fault found; whether the picture is good only a person can tell"
_TWICE = Hold(samples=2)
_SETTLED = Hold(samples=2, seconds=3.0)  # a mode change or waking up takes a moment


def rules(*, must_be_on: bool, needs_edid: bool) -> tuple[Rule, ...]:
    """How a screen's samples are judged.

    Args:
        must_be_on: Being switched off is a fault.
        needs_edid: This screen gives an identification: giving none is a fault.
    """
    off, failed, degraded = PowerState.OFF, State.FAILED, State.DEGRADED
    found = [
        *LINE_RULES,
        Rule("missing", "missing", failed, "", "HW-SCR-001", blinds=True, power_state=off, absent=False),
        Rule(
            "disconnected",
            "disconnected",
            failed,
            "no screen is connected: cable, or its power",
            "HW-SCR-001",
            confirm=_TWICE,
            release=_TWICE,
            blinds=True,
            power_state=off,
            absent=False,
        ),
        Rule("untold", "untold", State.UNKNOWN, "the kernel cannot tell whether it is connected", confirm=_TWICE),
        Rule(
            "backlight_missing", "backlight_missing", failed, "its backlight is missing", "HW-SCR-002", confirm=_TWICE
        ),
        Rule("dark", "dark", failed, "is on, but its backlight is off", "HW-SCR-002", confirm=_SETTLED, release=_TWICE),
        Rule("edid_damaged", "edid_damaged", degraded, "", "HW-SCR-001", confirm=_TWICE, release=_TWICE),
    ]
    if needs_edid:
        text = "gives no identification (EDID): cable or plug"
        found.append(Rule("edid_lost", "edid_lost", degraded, text, "HW-SCR-001", confirm=_TWICE, release=_TWICE))
    if must_be_on:
        text = "is switched off, but this one must always be on"
        found.append(Rule("off", "off", failed, text, "HW-SCR-002", confirm=_SETTLED, release=_TWICE))
    else:
        found.append(Rule("standby", "off", State.OK, "switched off, as in standby"))
    return tuple(found)


def sample_of(reading: ListedReading) -> Sample:
    """A reading as a sample."""
    if not isinstance(reading, ScreenReading):
        raise TypeError(f"not a screen's reading: {type(reading).__name__}")
    connector, backlight = reading.connector, reading.backlight
    readings = _connector_readings(connector) | _backlight_readings(backlight)
    if reading.has_connector and connector is None:
        words = "is missing: the kernel lists no such connector; its driver has failed, or the model file names another"
        return Sample(False, {"missing": True}, readings, {"missing": words})
    if connector is not None and connector.status == "disconnected":  # all the rest follows from it
        return Sample(False, {"disconnected": True}, readings)
    seen: dict[str, Seen] = {}
    details: dict[str, str] = {}
    is_off: bool | None = None
    if connector is not None:
        connected = connector.status == "connected"
        is_off = not connector.enabled or connector.dpms != "On"
        seen |= {
            "untold": connector.status == "unknown",
            "edid_damaged": connector.edid_problem is not None if connected else None,
            "edid_lost": connector.edid_bytes == 0 if connected else None,
        }
        details["edid_damaged"] = f"its identification (EDID) is damaged, {connector.edid_problem}: cable or screen"
    if reading.has_backlight:
        seen["backlight_missing"] = backlight is None
    if backlight is not None:
        if is_off is None:  # nothing but the backlight is known: unpowered is how it looks in standby
            is_off = not backlight.powered
        seen["dark"] = not is_off and (not backlight.powered or backlight.brightness == 0)  # in standby it is meant
    seen["off"] = is_off
    return Sample(True, seen, readings, details)


def _connector_readings(connector: Connector | None) -> dict[str, Value]:
    if connector is None:
        return {}
    return {
        "connected": {"connected": 1, "disconnected": 0}.get(connector.status),
        "display_on": int(connector.enabled and connector.dpms == "On"),
        "modes": connector.modes,
        "edid_bytes": connector.edid_bytes,
    }


def _backlight_readings(backlight: Backlight | None) -> dict[str, Value]:
    if backlight is None:
        return {}
    return {
        "brightness_pct": round(100.0 * backlight.brightness / backlight.max_brightness, 1),
        "actual_brightness_pct": round(100.0 * backlight.actual_brightness / backlight.max_brightness, 1),
        "backlight_on": int(backlight.powered),
    }
