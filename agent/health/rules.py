"""Samples → state, with debounce and hysteresis. Pure: monotonic time is given, nothing is remembered but `Track`.

A rule changes its mind only when every look for long enough contradicted it: `Hold` says how many consecutive looks and
how many seconds that takes. A number has two limits: one to raise, a better one to clear. A look that says nothing
begins the count anew, in both directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from agent.contract.health import PowerState, State
from agent.health.sample import Sample, Seen

BROKEN = "broken"


class Hold(Struct, frozen=True):
    """How long the opposite must be seen: that many consecutive samples and at least that many seconds."""

    samples: int = 1
    seconds: float = 0.0


class Limit(Struct, frozen=True):
    """Two limits of a number. Higher is worse when ``raise_at`` is above ``clear_at``, else lower is."""

    raise_at: float
    clear_at: float

    def is_bad(self, value: float, was_bad: bool) -> bool:
        """Beyond ``raise_at``, or since it was: not yet back at ``clear_at``. NaN is no number: as before."""
        if self.raise_at >= self.clear_at:
            return value > self.clear_at if was_bad else value >= self.raise_at
        return value < self.clear_at if was_bad else value <= self.raise_at


class Rule(Struct, frozen=True):
    """One condition of a subject and what it makes of it.

    Attributes:
        name: Unique within the subject; stored, so that a restart goes on where it was.
        condition: Key of ``Sample.seen``.
        state: What the subject is while the rule is active.
        text: Shown while active; ``{}`` stands for the number seen when it was raised.
        code: Fault raised while active; None where it is no fault.
        limit: For conditions that are numbers.
        confirm: What it takes to raise; ``release``: to clear.
        blinds: While active nothing is known from the subject itself: its state is this rule's, whatever others say.
        power_state: The subject's while active; None says nothing about it.
        absent: What counts as seen where a sample leaves the condition out.
    """

    name: str
    condition: str
    state: State
    text: str
    code: str | None = None
    limit: Limit | None = None
    confirm: Hold = Hold()
    release: Hold = Hold()
    blinds: bool = False
    power_state: PowerState | None = None
    absent: Seen = None


class Track(Struct, frozen=True):
    """Where one rule stands. ``active`` is None until something was seen for the first time."""

    active: bool | None = None
    contradicted: int = 0  # consecutive samples
    since_s: float = 0.0  # monotonic, of the first of them
    detail: str = ""


class Verdict(Struct, frozen=True):
    """What the rules together say. ``active`` are the rules that hold, in their order."""

    state: State
    power_state: PowerState
    detail: str
    active: tuple[Rule, ...]
    details: tuple[str, ...]


PROBE_BROKEN = Rule(BROKEN, BROKEN, State.UNKNOWN, "the probe failed; see the log", blinds=True, absent=False)
"""The one rule that every subject has: its probe raised something that it should not."""

NOT_LOOKED_AT = "not looked at yet"
_FRESH = Track()
_UNTOUCHED = {True: Track(active=True), False: Track(active=False)}
_RANK = {State.OK: 0, State.DEGRADED: 1, State.UNKNOWN: 2, State.FAILED: 3}


def begin(rules: Sequence[Rule]) -> tuple[Track, ...]:
    """Tracks of a subject about which nothing is known.

    A blinding rule begins as not active, so that the first miss is not taken for silence; what a first answer says is
    believed at once, unless its rule asks for time.
    """
    return tuple(_UNTOUCHED[False] if rule.blinds or rule.confirm.seconds else _FRESH for rule in rules)


def judge(rule: Rule, track: Track, sample: Sample, now_s: float) -> Track:
    """Where the rule stands after one more sample."""
    seen = sample.seen.get(rule.condition, rule.absent)
    if seen is None or math.isnan(seen):
        return track if track.contradicted == 0 else Track(track.active, 0, 0.0, track.detail)
    is_bad = rule.limit.is_bad(seen, track.active is True) if rule.limit is not None else bool(seen)
    if is_bad is track.active:
        return track if track.contradicted == 0 else Track(track.active, 0, 0.0, track.detail)
    if track.active is None:
        return _turned(rule, is_bad, seen, sample)
    hold = rule.confirm if is_bad else rule.release
    count = track.contradicted + 1
    since_s = track.since_s if track.contradicted else now_s
    if count >= hold.samples and now_s - since_s >= hold.seconds:
        return _turned(rule, is_bad, seen, sample)
    return Track(track.active, count, since_s, track.detail)


def _turned(rule: Rule, is_bad: bool, seen: Seen, sample: Sample) -> Track:
    if not is_bad:
        return _UNTOUCHED[False]
    words = sample.details.get(rule.condition)
    return Track(active=True, detail=words if words is not None else rule.text.format(seen))


def observe(rules: Sequence[Rule], tracks: tuple[Track, ...], sample: Sample, now_s: float) -> tuple[Track, ...]:
    """All rules after one more sample; the very same tuple when nothing moved."""
    seen = sample.seen.get
    after = tuple(
        [
            track  # not seen, and was not: by far the most
            if track.active is False and not track.contradicted and seen(rule.condition, rule.absent) is False
            else judge(rule, track, sample, now_s)
            for rule, track in zip(rules, tracks, strict=True)
        ]
    )
    if not sample.answered:
        after = _still_blind(rules, tracks, after)
    return tracks if all(new is old for new, old in zip(after, tracks, strict=True)) else after


def _still_blind(rules: Sequence[Rule], before: tuple[Track, ...], after: tuple[Track, ...]) -> tuple[Track, ...]:
    """Without an answer a blinding rule gives way only to another one: a port that is back but silent is not ok."""
    steps = list(zip(rules, before, after, strict=True))
    if any(rule.blinds and new.active and not old.active for rule, old, new in steps):
        return after
    return tuple(old if rule.blinds and old.active and not new.active else new for rule, old, new in steps)


def is_undecided(rules: Sequence[Rule], tracks: Sequence[Track]) -> bool:
    """True when the next samples decide something soon: look again without waiting for the next round."""
    return any(
        track.contradicted and not (rule.release if track.active else rule.confirm).seconds
        for rule, track in zip(rules, tracks, strict=True)
    )


def conclude(rules: Sequence[Rule], tracks: Sequence[Track], *, answered: bool) -> Verdict:
    """State, power state and words of the whole subject.

    Args:
        answered: It has given a valid answer at least once, in this life or a stored one.
    """
    holding = [(rule, track.detail) for rule, track in zip(rules, tracks, strict=True) if track.active]
    active, details = tuple(rule for rule, _ in holding), tuple(detail for _, detail in holding)
    for rule, detail in holding:
        if rule.blinds:
            return Verdict(rule.state, rule.power_state or PowerState.UNKNOWN, detail, active, details)
    if not answered:
        return Verdict(State.UNKNOWN, PowerState.UNKNOWN, NOT_LOOKED_AT, active, details)
    shown = {rule.condition: detail for rule, detail in reversed(holding)}  # of two steps of one number: the first
    state = max((rule.state for rule in active), key=_RANK.__getitem__, default=State.OK)
    power_state = next((rule.power_state for rule in active if rule.power_state), PowerState.ONLINE)
    return Verdict(state, power_state, "; ".join(reversed(shown.values())), active, details)
