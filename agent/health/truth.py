"""What is true now: every subject, every active fault, readiness; and what of it is not yet written and said.

Samples and reports go in, messages with their rows come out, to be committed together. No I/O but the log: a change is
logged here, once, when it is concluded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from msgspec import Struct
from msgspec.structs import replace

from agent.contract.faults import CATALOGUE, impact_on
from agent.contract.health import (
    DeviceHealth,
    Fault,
    HealthSnapshot,
    HistoryEntry,
    Impact,
    PowerState,
    Readiness,
    State,
)
from agent.contract.publication import Publication
from agent.health import messages
from agent.health.readiness import assess
from agent.health.records import Change, DeviceRow, FaultRow
from agent.health.reported import Key, Moment, ReportedFaults
from agent.health.rules import Verdict
from agent.health.sample import Sample
from agent.health.subject import Watched
from agent.runtime.clock import Clock
from agent.runtime.identifiers import uuid7

log = structlog.get_logger("health")

OnChange = Callable[[str, object], None]
"""Told on the loop, at once: ``health`` with a `DeviceHealth`, ``readiness`` with a `Readiness`. Must not raise."""

_EVENTS_KEPT = 256  # while the store cannot write; older ones are dropped, the state itself never is


class _Active(Struct, frozen=True):
    """A fault with what only the store wants to know about it."""

    fault: Fault
    since_ms: int
    reported: bool
    until_ms: int | None


@dataclass(slots=True)
class Unsaid:
    """What the next commit has to hold."""

    devices: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    fault_rows: bool = False
    faults: bool = False
    readiness: bool = False
    events: list[Publication] = field(default_factory=list)
    history: list[HistoryEntry] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.devices or self.gone or self.fault_rows or self.faults or self.readiness or self.events)


def tell_nobody(_kind: str, _now: object) -> None:
    """Where nobody listens to changes."""


class Truth:
    """``source`` names this terminal in events: ``pos/v1/<site>/<terminal>``."""

    def __init__(
        self,
        watched: Iterable[Watched],
        reported: ReportedFaults,
        clock: Clock,
        source: str,
        on_change: OnChange = tell_nobody,
    ) -> None:
        self.watched = {one.subject.name: one for one in watched}
        self._reported = reported
        self._clock = clock
        self._source = source
        self._on_change = on_change
        self._faults: dict[Key, _Active] = {}
        self._unsaid = Unsaid()
        now_ms = _ms(clock.now())
        for one in self.watched.values():
            one.since_ms = one.at_ms = now_ms
        self._readiness = self._assess(now_ms)

    # ── in ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def restore(self, devices: Iterable[DeviceRow], faults: Iterable[FaultRow]) -> None:
        """Begin with what an earlier life has stored. What this terminal has no more is taken back."""
        now = Moment.of(self._clock)
        stored = list(devices)
        # What nobody looks at never changes, so it is written here or never, and would be "since" every start.
        never_looked_at = {name for name, one in self.watched.items() if not (one.subject.device or one.subject.host)}
        self._unsaid.devices |= never_looked_at - {row.device for row in stored}
        for row in stored:
            one = self.watched.get(row.device)
            if one is None:
                self._unsaid.gone.add(row.device)
                continue
            one.restore(row.active, State(row.state))
            one.at_ms = row.at_ms
            if one.verdict.state == row.state:
                one.since_ms = row.since_ms
            else:
                self._unsaid.devices.add(row.device)
        for fault in faults:
            kind = CATALOGUE.get(fault.code)
            if kind is None:
                self._unsaid.faults = True
                continue
            key = (fault.code, fault.device)
            said = Fault(*key, kind.severity, Impact(fault.impact), messages.stamp(fault.since_ms), fault.detail)
            self._faults[key] = _Active(said, fault.since_ms, fault.reported, fault.until_ms)
            if fault.reported:
                self._reported.restore(kind, fault.device, fault.detail, fault.until_ms, now)
        self._readiness = self._assess(now.ms)
        self._unsaid.readiness = bool(self._unsaid.devices or self._unsaid.gone)
        self.refresh()

    def take(self, one: Watched, sample: Sample) -> None:
        """One more sample of a subject."""
        now_ms = _ms(self._clock.now())
        one.at_ms = now_ms
        before = one.verdict
        if not one.take(sample, self._clock.monotonic()):
            return
        after = one.verdict
        if after.state != before.state:
            one.since_ms = now_ms
            log.info(
                "device.state_changed",
                device=one.subject.name,
                before=before.state.value,
                state=after.state.value,
                power_state=after.power_state.value,
                detail=after.detail,
            )
        if (after.state, after.power_state) != (before.state, before.power_state):
            self._unsaid.history.append(messages.state_entry(_health(one)))
        self._unsaid.devices.add(one.subject.name)
        if _shown(before) != _shown(after):
            self._on_change("health", _health(one))
        self.refresh()

    def refresh(self) -> None:
        """Conclude faults and readiness again, after anything may have changed."""
        now_ms = _ms(self._clock.now())
        before, after = self._faults, self._concluded_faults(now_ms)
        self._faults = after
        for key in before.keys() - after.keys():
            self._tell(before[key].fault, active=False, now_ms=now_ms)
        for key, one in after.items():
            if key not in before:
                self._tell(one.fault, active=True, now_ms=now_ms)
            elif one.fault != before[key].fault:
                self._unsaid.faults = True
            elif one.until_ms != before[key].until_ms:
                self._unsaid.fault_rows = True
        readiness = self._assess(now_ms)
        if (readiness.ready, readiness.reasons) != (self._readiness.ready, self._readiness.reasons):
            codes = [reason.code for reason in readiness.reasons]
            log.info("readiness.changed", ready=readiness.ready, reasons=codes)
            self._readiness = readiness
            self._unsaid.readiness = True
            self._on_change("readiness", readiness)

    def say_again(self) -> None:
        """Every device's health once more."""
        self._unsaid.devices |= self.watched.keys()

    # ── out ────────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def is_unsaid(self) -> bool:
        """There is something to commit."""
        return bool(self._unsaid)

    def take_unsaid(self) -> tuple[Unsaid, Change]:
        """What is to be committed; give the first part back with `put_back` when that failed."""
        unsaid, self._unsaid = self._unsaid, Unsaid()
        at = self._clock.now()
        devices = [self.watched[name] for name in sorted(unsaid.devices)]
        publications = [messages.device_gone(name) for name in sorted(unsaid.gone)]
        if unsaid.faults:
            publications.append(messages.faults(self.faults(), messages.stamp(_ms(at))))
        publications += [messages.device_health(_health(one)) for one in devices]
        if unsaid.readiness:
            publications.append(messages.readiness(self._readiness))
        publications += unsaid.events
        rows = [
            FaultRow(
                *(one.fault.code, one.fault.device, one.fault.impact.value, one.fault.detail),
                *(one.since_ms, one.reported, one.until_ms),
            )
            for one in self._faults.values()
        ]
        changed = [_row(one) for one in devices]
        return unsaid, Change(changed, sorted(unsaid.gone), rows, publications, at, tuple(unsaid.history))

    def put_back(self, unsaid: Unsaid) -> None:
        """It could not be committed: it stays to be said, as it will be then."""
        now = self._unsaid
        now.devices |= unsaid.devices
        now.gone |= unsaid.gone
        now.fault_rows |= unsaid.fault_rows
        now.faults |= unsaid.faults
        now.readiness |= unsaid.readiness
        now.events = (unsaid.events + now.events)[-_EVENTS_KEPT:]
        now.history = (unsaid.history + now.history)[-_EVENTS_KEPT:]

    def health(self, name: str) -> DeviceHealth:
        return _health(self.watched[name])

    def faults(self) -> tuple[Fault, ...]:
        """All that are active, the most severe first."""
        return tuple(sorted((one.fault for one in self._faults.values()), key=lambda f: (f.severity, f.code, f.device)))

    def snapshot(self) -> HealthSnapshot:
        devices = tuple(_health(one) for one in self.watched.values())
        now_ms = _ms(self._clock.now())
        return HealthSnapshot(devices, self.faults(), self._assess(now_ms), messages.stamp(now_ms))

    def publications(self) -> list[Publication]:
        """All of it as retained messages."""
        now = self.snapshot()
        return [
            messages.faults(now.faults, now.at),
            *map(messages.device_health, now.devices),
            messages.readiness(now.readiness),
        ]

    # ── inside ─────────────────────────────────────────────────────────────────────────────────────────────────
    def _concluded_faults(self, now_ms: int) -> dict[Key, _Active]:
        found: dict[Key, _Active] = {}
        for one in self.watched.values():
            for rule, detail in zip(one.verdict.active, one.verdict.details, strict=True):
                if rule.code is None:
                    continue
                key = (rule.code, one.subject.name)
                impact = impact_on(CATALOGUE[rule.code], rule.state, required=one.subject.required)
                same = found.get(key)
                if same is not None:  # several conditions, one fault: the first is the worst
                    impact = Impact.SALE if Impact.SALE in {impact, same.fault.impact} else same.fault.impact
                words = same.fault.detail if same is not None else detail
                found[key] = self._active(key, impact, words, now_ms)
        for key, report in self._reported.active().items():
            active = self._active(key, CATALOGUE[key[0]].impact, report.detail, now_ms)
            found[key] = replace(active, reported=True, until_ms=report.until_ms)
        return found

    def _active(self, key: Key, impact: Impact, detail: str, now_ms: int) -> _Active:
        known = self._faults.get(key)
        since_ms = known.since_ms if known is not None else now_ms
        fault = Fault(*key, CATALOGUE[key[0]].severity, impact, messages.stamp(since_ms), detail)
        return _Active(fault, since_ms, reported=False, until_ms=None)

    def _assess(self, now_ms: int) -> Readiness:
        required = (_health(one) for one in self.watched.values() if one.subject.required)
        return assess(self.faults(), required, messages.stamp(now_ms))

    def _tell(self, fault: Fault, *, active: bool, now_ms: int) -> None:
        self._unsaid.faults = True
        at = messages.stamp(now_ms)
        event = messages.fault_event(fault, active=active, event_id=uuid7(), source=self._source, at=at)
        self._unsaid.events.append(event)
        self._unsaid.history.append(messages.fault_entry(fault, active=active, at=at))
        facts = {"code": fault.code, "device": fault.device, "severity": fault.severity.value, "detail": fault.detail}
        if active:
            log.warning("fault.raised", impact=fault.impact.value, **facts)
        else:
            log.info("fault.cleared", since=fault.since, **facts)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _shown(verdict: Verdict) -> tuple[State, PowerState, str]:
    """What of a verdict others see."""
    return verdict.state, verdict.power_state, verdict.detail


def _health(one: Watched) -> DeviceHealth:
    verdict = one.verdict
    return DeviceHealth(
        device=one.subject.name,
        category=one.subject.category,
        state=verdict.state,
        power_state=verdict.power_state,
        detail=verdict.detail,
        since=messages.stamp(one.since_ms),
        at=messages.stamp(one.at_ms),
    )


def _row(one: Watched) -> DeviceRow:
    verdict = one.verdict
    active = {rule.name: detail for rule, detail in zip(verdict.active, verdict.details, strict=True)}
    return DeviceRow(
        *(one.subject.name, one.subject.category, verdict.state.value, verdict.power_state.value, verdict.detail),
        *(active, one.since_ms, one.at_ms),
    )
