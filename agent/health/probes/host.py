"""What the probes of the board have in common: a reading that cannot be had makes the subject unknown, never good."""

from __future__ import annotations

from agent.contract.health import State, Threshold
from agent.health.rules import PROBE_BROKEN, Hold, Limit, Rule
from agent.health.sample import Sample, Seen

BLOCKED = "blocked"
ABSENT = "absent"

LINE_RULES: tuple[Rule, ...] = (
    PROBE_BROKEN,
    Rule(BLOCKED, BLOCKED, State.UNKNOWN, "its file blocks the reader", blinds=True, absent=False),
    Rule("unread", "unread", State.UNKNOWN, "cannot be read", confirm=Hold(samples=2), blinds=True, absent=False),
)
"""First in the list of every host subject."""


def absent_rule(code: str | None, *, required: bool) -> Rule:
    """What it means that the board has no such part: nothing is known, or a fault where the model says it must have it.

    Args:
        code: The fault of a required part.
    """
    if required:
        text = "this board has none, and its model says that it must"
        return Rule(ABSENT, ABSENT, State.FAILED, text, code, confirm=Hold(samples=2), blinds=True, absent=False)
    return Rule(ABSENT, ABSENT, State.UNKNOWN, "this board has none", blinds=True, absent=False)


NONE_HERE = Sample(False, {ABSENT: True})
"""The board has no such part."""


def unread(detail: str) -> Sample:
    """No reading: the file is missing, empty or nonsense."""
    return Sample(False, {"unread": True}, details={"unread": detail})


def blocked(deadline_s: float) -> Sample:
    """No reading within the deadline; the reader may never come back."""
    seen: dict[str, Seen] = {BLOCKED: True, "unread": None}
    return Sample(False, seen, details={BLOCKED: f"no reading within {deadline_s:g} s: its file blocks the reader"})


def two_steps(condition: str, code: str, text: str, threshold: Threshold, *, lower_is_worse: bool) -> tuple[Rule, ...]:
    """Rules for one number: degraded, then failed, each with its own way back."""
    hold = Hold(samples=2 if threshold.for_s else 1, seconds=threshold.for_s)
    margin = threshold.margin_pct if lower_is_worse else -threshold.margin_pct
    return tuple(
        Rule(
            f"{condition}_{state.value}",
            condition,
            state,
            text,
            code,
            limit=Limit(at_pct, at_pct + margin),
            confirm=hold,
            release=hold,
        )
        for state, at_pct in ((State.FAILED, threshold.failed_pct), (State.DEGRADED, threshold.degraded_pct))
    )
