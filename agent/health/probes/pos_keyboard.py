"""Keypad: is it there, and does its reader say that a key is stuck or chatters. Never which, never when.

Source: `drivers.sysfs_contract.KeypadReading`. A keypad of which nothing is heard may be dead or unused, so "ok" says
no more than was seen. Debouncing of keys is the reader's; here only looks are debounced.
"""

from __future__ import annotations

from agent.contract.health import PowerState, State
from agent.health.probes.host import LINE_RULES
from agent.health.rules import Hold, Rule
from agent.health.sample import Sample, Seen, Value
from drivers.sysfs_contract import KeypadReading, ListedReading

OK_DETAIL = "attached; whether each key works only a person can tell"
_TWICE = Hold(samples=2)
_READER_MAY_BE_SILENT = Hold(samples=3, seconds=20.0)  # it is restarted by itself within a few seconds


def rules(*, has_reader: bool) -> tuple[Rule, ...]:
    """How a keypad's samples are judged. Without a reader nothing is concluded about its keys."""
    missing = Rule(
        "missing",
        "missing",
        State.FAILED,
        "is missing",
        "HW-KPD-001",
        blinds=True,
        power_state=PowerState.OFF,
        absent=False,
    )
    if not has_reader:
        return (*LINE_RULES, missing)
    return (
        *LINE_RULES,
        missing,
        Rule("stuck", "stuck", State.FAILED, "a key is stuck", "HW-KPD-002", release=_TWICE),
        Rule("chatter", "chatter", State.DEGRADED, "a key chatters", "HW-KPD-003", release=_TWICE),
        Rule(
            "reader_silent",
            "reader_silent",
            State.UNKNOWN,
            "attached, but its reader is silent",
            confirm=_READER_MAY_BE_SILENT,
            absent=False,
        ),
    )


def sample_of(reading: ListedReading) -> Sample:
    """A reading as a sample."""
    if not isinstance(reading, KeypadReading):
        raise TypeError(f"not a keypad's reading: {type(reading).__name__}")
    if reading.absence is not None:
        gone: dict[str, Value] = {"present": 0}
        return Sample(False, {"missing": True}, gone, {"missing": f"is missing: {reading.absence}"})
    report = reading.report
    problem = reading.report_problem
    if report is not None and not report.readable:
        problem = "its reader cannot open it"
    seen: dict[str, Seen] = {"reader_silent": problem is not None}
    if report is not None:
        seen |= {"stuck": report.stuck, "chatter": report.chatter}
    readings: dict[str, Value] = {"present": 1, "keys_declared": reading.declared_keys}
    if report is not None:
        readings |= {
            "key_pressed_count": report.key_pressed_count,
            "key_stuck": None if report.stuck is None else int(report.stuck),
            "key_chatter": None if report.chatter is None else int(report.chatter),
        }
    words = f"attached, but whether a key is stuck is not known: {problem}"
    return Sample(True, seen, readings, {"reader_silent": words})
