"""A device or a part of the board: how it is looked at, how it is judged, and what is concluded about it now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from msgspec import Struct
from msgspec.structs import replace

from agent.contract.health import State
from agent.health.rules import Rule, Track, Verdict, begin, conclude, is_undecided, observe
from agent.health.sample import Sample, Seen


class DeviceProbe(Protocol):
    """Looks at a device from the event loop."""

    async def look(self, deadline_s: float) -> Sample:
        """CheckHealth internal: no physical effect. What the device does wrong is in the sample, never raised."""
        ...


@runtime_checkable
class TestableProbe(DeviceProbe, Protocol):
    """One whose device can be made to act."""

    async def test(self) -> None:
        """CheckHealth external. Raises `drivers.errors.DriverError` when the test did not pass."""
        ...


HostLook = Callable[[], Sample]
"""Looks at a part of the board, or at a device that is known by what the kernel lists of it; in a thread.

Raises `drivers.errors.HostSourceError` when there is no reading.
"""


class Subject(Struct, frozen=True):
    """One thing to watch.

    Attributes:
        name: Id in topics and faults.
        group: Under which its readings are kept.
        required: The terminal does not sell without it.
        ok_detail: Words for when nothing is wrong, where "ok" would say more than can be seen.
        every: Looked at in each round, or only in each second, third …: all stay on one grid, so wake-ups stay few.
        deadline_s: For one look of ``device``; None for the monitor's own.
        why_not: Why it cannot be looked at, where neither ``device`` nor ``host`` is given: it stays unknown.
    """

    name: str
    category: str
    group: str
    rules: tuple[Rule, ...] = ()
    required: bool = False
    device: DeviceProbe | None = None
    host: HostLook | None = None
    ok_detail: str = ""
    why_not: str = ""
    every: int = 1
    deadline_s: float | None = None


@dataclass(slots=True)
class Watched:
    """A subject as it stands."""

    subject: Subject
    tracks: tuple[Track, ...] = ()
    answered: bool = False
    is_undecided: bool = False  # look again soon: the next samples decide something
    verdict: Verdict = field(init=False)
    since_ms: int = 0  # in this state
    at_ms: int = 0  # last looked at
    due_s: float = 0.0  # monotonic, next look
    unmoved_by: Mapping[str, Seen] | None = None  # what was seen when no rule moved: the same again moves none either
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.tracks = begin(self.subject.rules)
        self.verdict = self._concluded()

    def restore(self, active: dict[str, str], state: State) -> None:
        """Go on where a stored life ended: ``active`` names the rules that held, with what they said."""
        self.answered = state is not State.UNKNOWN or bool(active)
        if self.answered:
            self.tracks = tuple(
                Track(rule.name in active, detail=active.get(rule.name, "")) for rule in self.subject.rules
            )
        self.verdict = self._concluded()

    def take(self, sample: Sample, now_s: float) -> bool:
        """One more sample; True when the conclusion is another one now."""
        if sample.seen == self.unmoved_by and sample.answered:
            return False
        tracks = observe(self.subject.rules, self.tracks, sample, now_s)
        if tracks is self.tracks and (self.answered or not sample.answered):
            self.unmoved_by = sample.seen if sample.answered else None
            return False
        self.unmoved_by = None
        self.tracks = tracks
        self.is_undecided = is_undecided(self.subject.rules, tracks)
        self.answered = self.answered or sample.answered
        before, self.verdict = self.verdict, self._concluded()
        return self.verdict != before

    def _concluded(self) -> Verdict:
        verdict = conclude(self.subject.rules, self.tracks, answered=self.answered)
        if self.subject.why_not:
            return Verdict(verdict.state, verdict.power_state, self.subject.why_not, (), ())
        if verdict.state is State.OK and self.subject.ok_detail:
            return replace(verdict, detail="; ".join(filter(None, (self.subject.ok_detail, verdict.detail))))
        return verdict
