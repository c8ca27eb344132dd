"""Which faults follow from what applications say, and from their silence. Pure: statuses and times in, faults out.

Source: the product's fault catalogue. A configured application that is silent or cannot sell means that this terminal
cannot sell; a program that nobody configured can never make it so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from agent.contract.selling import STALE_AFTER_S
from agent.selling.applications import Applications, Word

APPLICATION: Final = "SW-APP-001"
REVERSAL_OLD: Final = "TXN-REV-001"
OFFLINE_OLD: Final = "TXN-SAF-001"

UNFIT_AFTER_S: Final = 5.0
REVERSAL_OLD_AFTER_S: Final = 15 * 60.0
OFFLINE_OLD_AFTER_S: Final = 4 * 3600.0


class Finding(Struct, frozen=True):
    """One fault of one application, there or not. ``turn_s``: in how many seconds it comes if nothing is said."""

    code: str
    device: str
    active: bool
    detail: str
    turn_s: float | None


def judge(applications: Applications, now_s: float, grace_left_s: float | None) -> Iterator[Finding]:
    """Every fault that can be judged now; what cannot be yet (nothing was heard, the grace runs) is left out."""
    for name, unit, word in applications.words():
        if unit is not None and (word is not None or grace_left_s is None):
            yield _of_application(name, word, now_s)
        if word is not None:
            count = f"{word.status.pending_reversals} of its reversals are not through"
            since_s = word.reversals_since_s
            yield _lasting(REVERSAL_OLD, name, count, since_s=since_s, limit_s=REVERSAL_OLD_AFTER_S, now_s=now_s)
            count = f"{word.status.saf_count} of its offline sales are not sent"
            since_s = word.offline_since_s
            yield _lasting(OFFLINE_OLD, name, count, since_s=since_s, limit_s=OFFLINE_OLD_AFTER_S, now_s=now_s)


def _of_application(name: str, word: Word | None, now_s: float) -> Finding:
    if word is None:
        return Finding(APPLICATION, name, True, "it has said nothing since the agent's start", None)
    silent_in_s = word.at_s + STALE_AFTER_S - now_s
    if silent_in_s < 0:
        return Finding(APPLICATION, name, True, f"it has said nothing for over {STALE_AFTER_S:g} s", None)
    if word.unfit_since_s is None:
        return Finding(APPLICATION, name, False, "it speaks, and can sell", silent_in_s)
    what = "it is not signed in" if word.status.ready else "it says that it is not ready"
    unfit_in_s = word.unfit_since_s + UNFIT_AFTER_S - now_s
    return Finding(APPLICATION, name, unfit_in_s <= 0, what, unfit_in_s if unfit_in_s > 0 else silent_in_s)


def _lasting(code: str, name: str, detail: str, *, since_s: float | None, limit_s: float, now_s: float) -> Finding:
    if since_s is None:
        return Finding(code, name, False, "there are none", None)
    left_s = since_s + limit_s - now_s
    return Finding(code, name, left_s <= 0, detail, left_s if left_s > 0 else None)
