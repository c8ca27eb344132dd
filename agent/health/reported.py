"""Faults that other rooms find: debounced, aged, carried over a restart. Pure: both kinds of time are given.

How a fault ends is in the catalogue (`Lasts`). A condition must hold for its delay before it is a fault, and be over
for its delay before it is none. An event goes by itself after its time without another one. After a restart a condition
must be reported again, or it is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from agent.contract.faults import FaultKind, Lasts
from agent.runtime.clock import Clock

CONFIRM_AFTER_RESTART_S = 300.0
_REMEMBER_AGAIN_S = 3600.0  # how much longer an event must last before its new end is worth writing down
_DETAIL_LIMIT = 200
_REPORTS_LIMIT = 100  # more than all codes together: only a device's name that somebody makes up could reach it

Key = tuple[str, str]
"""Code and device."""


class Moment(NamedTuple):
    """Now: monotonic seconds to measure with, wall time in milliseconds since 1970 UTC to write down."""

    s: float
    ms: int

    @classmethod
    def of(cls, clock: Clock) -> Moment:
        return cls(clock.monotonic(), round(clock.now().timestamp() * 1000))


class Delay(NamedTuple):
    """Seconds for which a report must stand."""

    raise_after_s: float = 0.0
    clear_after_s: float = 0.0


class Report(Struct, frozen=True):
    """One fault. ``turn_s``: when ``active`` becomes its opposite, monotonic; None while nothing is under way."""

    active: bool
    detail: str
    turn_s: float | None = None
    until_s: float | None = None  # monotonic: when an event has aged out
    written_until_s: float | None = None  # the same as last stored; moved only when it pays
    until_ms: int | None = None  # ``written_until_s`` as wall time
    awaits_word: bool = False  # restored, and nobody has said in this life whether it is still so


class ReportedFaults:
    """What has been reported. No I/O; the caller asks `next_turn_s` and calls `advance` then."""

    def __init__(self, delays: Mapping[str, Delay]) -> None:
        self._delays = delays
        self._reports: dict[Key, Report] = {}

    def report(self, kind: FaultKind, device: str, active: bool, detail: str, now: Moment) -> None:
        """Take a report. Repeating it changes nothing but the end of an event; the first one after a restart says why.

        Raises:
            OverflowError: Too many different faults; this one is not taken.
        """
        key, detail = (kind.code, device), detail[:_DETAIL_LIMIT]
        if key not in self._reports and len(self._reports) >= _REPORTS_LIMIT:
            raise OverflowError("too many different faults are reported")
        known = self._reports.get(key, Report(active=False, detail=detail))
        if kind.lasts is Lasts.AGES_OUT and active:
            known = _extended(known, kind.ages_out_s, now)
        if active == known.active:
            known = replace(known, turn_s=None, detail=detail if known.awaits_word else known.detail, awaits_word=False)
        else:
            delay = self._delays.get(kind.code, Delay())
            turn_s = now.s + (delay.raise_after_s if active else delay.clear_after_s)
            # A restored fault is already on its way out, slowly: being told that it is over is sooner.
            if known.turn_s is None or turn_s < known.turn_s:
                known = replace(known, turn_s=turn_s, detail=detail if active else known.detail)
        self._reports[key] = known
        self.advance(now.s)

    def restore(self, kind: FaultKind, device: str, detail: str, until_ms: int | None, now: Moment) -> None:
        """A stored fault, active until it ages out, is reported as over, or is not confirmed in time."""
        if (kind.code, device) in self._reports:
            return  # reported in this life already: that is the newer word
        turn_s = now.s + CONFIRM_AFTER_RESTART_S if kind.lasts is Lasts.WHILE_TRUE else None
        until_s = None
        if kind.lasts is Lasts.AGES_OUT:
            left_s = 0.0 if until_ms is None else (until_ms - now.ms) / 1000
            until_s = now.s + min(max(left_s, 0.0), kind.ages_out_s)
        self._reports[kind.code, device] = Report(True, detail, turn_s, until_s, until_s, until_ms, turn_s is not None)
        self.advance(now.s)

    def advance(self, now_s: float) -> None:
        """Let time pass."""
        for key, report in list(self._reports.items()):
            after = report
            if after.turn_s is not None and now_s >= after.turn_s:
                after = replace(after, active=not after.active, turn_s=None)
            if after.until_s is not None and now_s >= after.until_s:
                after = replace(after, active=False, turn_s=None, until_s=None)
            if not after.active and after.turn_s is None:
                del self._reports[key]
            elif after is not report:
                self._reports[key] = after

    def next_turn_s(self) -> float | None:
        """Monotonic time of the next change by itself."""
        return min(
            (at_s for report in self._reports.values() for at_s in (report.turn_s, report.until_s) if at_s is not None),
            default=None,
        )

    def active(self) -> dict[Key, Report]:
        """Those that are faults now."""
        return {key: report for key, report in self._reports.items() if report.active}


def _extended(known: Report, ages_out_s: float, now: Moment) -> Report:
    until_s = now.s + ages_out_s
    if known.written_until_s is not None and until_s - known.written_until_s < _REMEMBER_AGAIN_S:
        return replace(known, until_s=until_s)
    return replace(known, until_s=until_s, written_until_s=until_s, until_ms=now.ms + round(ages_out_s * 1000))
