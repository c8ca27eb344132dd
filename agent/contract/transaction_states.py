"""The states of a transaction and what may follow what. Pure; the table is the product's published contract.

What a batch's settlement and refunds do to a transaction on reading is not here but in ``store/transaction_views.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

FOLLOWS: Final[dict[str, tuple[str, ...]]] = {
    "created": ("sent", "approved", "cancelled"),
    "sent": ("approved", "declined", "unknown", "cancelled", "reversing"),
    "unknown": ("approved", "declined", "reversing", "cancelled"),
    "approved": ("voided", "refunded", "settled", "reversing"),
    "reversing": ("reversed", "reversal_failed", "approved"),
    "reversal_failed": ("reversing", "reversed"),
    "voided": ("settled",),
    "refunded": ("settled",),
    "settled": ("refunded",),
    "declined": (),
    "cancelled": (),
    "reversed": (),
}
STATES: Final = frozenset(FOLLOWS)
REPEATING: Final = frozenset({"reversing", "reversal_failed"})
"""May be recorded again with another ``attempt``, one after the other."""
REENTERED_THROUGH: Final[dict[str, frozenset[str]]] = {
    "approved": frozenset({"reversing", "reversal_failed"}),
    "settled": frozenset({"refunded"}),
}
"""State → any of these recorded after it means: it was left, and may be entered again with another ``attempt``.

``reversal_failed`` is reached only through ``reversing``, so it counts when ``reversing`` itself was skipped.
"""
MONEY_COUNTS: Final = frozenset({"approved", "voided", "refunded", "settled"})
"""Current states that belong in a summary of counts and sums."""


def _reachable() -> dict[str, frozenset[str]]:
    closure = {}
    for start in FOLLOWS:
        found: set[str] = set()
        waiting = list(FOLLOWS[start])
        while waiting:
            state = waiting.pop()
            if state not in found:
                found.add(state)
                waiting.extend(FOLLOWS[state])
        closure[start] = frozenset(found)
    return closure


REACHABLE: Final = _reachable()


def may_follow(current: str, state: str) -> bool:
    """True when the table leads from ``current`` to ``state``, skipped states included.

    The same state again is for `judge`: it needs to know the attempts.
    """
    return state in REPEATING if current == state else state in REACHABLE[current]


class Verdict(Enum):
    """What an entry offered for a known transaction is."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    KNOWN_CONFLICT = "known_conflict"
    INVALID = "invalid"


class Recorded(NamedTuple):
    """One recorded entry of a transaction, as `judge` needs it. ``content`` is equal for equal records."""

    sequence: int
    state: str
    attempt: int
    content: bytes
    conflicting: bool


class Judgement(NamedTuple):
    """``sequence``: the equal entry's (duplicate, known conflict), the disputed one's (conflict), else 0."""

    verdict: Verdict
    sequence: int


def judge(history: Sequence[Recorded], state: str, attempt: int, content: bytes) -> Judgement:
    """Decide what one more record for a transaction is. The conflict rule goes before the transition rule.

    Args:
        history: Everything recorded for the transaction id, oldest first, conflicts included; may be empty.
        attempt: 1 when the record has none.
    """
    accepted = [entry for entry in history if not entry.conflicting]
    if not accepted:
        return Judgement(Verdict.NEW, 0)
    same_state = [entry for entry in accepted if entry.state == state]
    for entry in history:
        if entry.state == state and entry.attempt == attempt and entry.content == content:
            return Judgement(Verdict.KNOWN_CONFLICT if entry.conflicting else Verdict.DUPLICATE, entry.sequence)
    disputed = next((entry for entry in same_state if entry.attempt == attempt), None)
    if disputed is None and same_state and not _may_repeat(accepted, state):
        disputed = same_state[-1]  # here the attempt is content like any other field
    if disputed is not None:
        return Judgement(Verdict.CONFLICT, disputed.sequence)
    if not may_follow(accepted[-1].state, state):
        return Judgement(Verdict.INVALID, 0)
    return Judgement(Verdict.NEW, 0)


def _may_repeat(accepted: Sequence[Recorded], state: str) -> bool:
    """True when ``state``, recorded before, takes another attempt now: it repeats, or it was left and comes again."""
    if state in REPEATING:
        return True
    leaving = REENTERED_THROUGH.get(state, frozenset())
    last = max(index for index, entry in enumerate(accepted) if entry.state == state)
    return any(entry.state in leaving for entry in accepted[last + 1 :])
