"""What may hold an accepted order back, as one table; and whether it may begin now. Pure.

Source: the product's contract, "Commands". `INTERLOCKS` is the published table. Besides it, one exclusive one runs
at a time (``OPERATION_RUNNING``, the engine's own rule), and at most `MAX_WAITING` orders wait (``QUEUE_FULL``, on
admission). What a running sale, money or battery forbid is added here as further lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final

from agent.contract.command import Reason, ReasonCode, Window
from agent.workflow.engine import Hold
from agent.workflow.transition import Closed, Phase

MAX_WAITING: Final = 32
LONGEST_CLOCK_WAIT_S: Final = 24 * 3600.0
FUTURE_TOLERANCE: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Wish:
    """What of an order matters here."""

    issued_at: datetime
    expires_at: datetime
    window: Window | None
    needs_trusted_clock: bool


@dataclass(frozen=True, slots=True)
class Conditions:
    """How the terminal is. ``waited_s``: monotonic, since this process knows the order."""

    now: datetime
    local_time: time
    clock_trusted: bool
    waited_s: float


@dataclass(frozen=True, slots=True)
class Interlock:
    """One line: while ``holds``, the order waits with ``code``; ``longest_s`` ends the waiting (None: its expiry)."""

    code: ReasonCode
    text: str
    holds: Callable[[Wish, Conditions], bool]
    look_again_s: float
    longest_s: float | None = None


def is_inside(window: Window, at: time) -> bool:
    """Whether a time of day is in the window: from its beginning on, before its end, across midnight if need be."""
    begin, end = time.fromisoformat(window.begin), time.fromisoformat(window.end)
    return begin <= at < end if begin < end else at >= begin or at < end


INTERLOCKS: Final = (
    Interlock(
        ReasonCode.CLOCK_UNTRUSTED,
        "the clock is not synchronised",
        lambda wish, conditions: wish.needs_trusted_clock and not conditions.clock_trusted,
        look_again_s=30.0,
        longest_s=LONGEST_CLOCK_WAIT_S,
    ),
    Interlock(
        ReasonCode.OUTSIDE_WINDOW,
        "the order's window is not open",
        lambda wish, conditions: wish.window is not None and not is_inside(wish.window, conditions.local_time),
        look_again_s=30.0,
    ),
)


def may_begin(wish: Wish, conditions: Conditions) -> Hold | Closed | None:
    """None: now. An order that nothing holds still has to be within its time."""
    if conditions.now >= wish.expires_at:
        return Closed(Phase.EXPIRED, Reason(ReasonCode.EXPIRED, "it could not begin before its expiry"))
    for interlock in INTERLOCKS:
        if not interlock.holds(wish, conditions):
            continue
        reason = Reason(interlock.code, interlock.text)
        if interlock.longest_s is not None and conditions.waited_s >= interlock.longest_s:
            return Closed(Phase.EXPIRED, reason)
        return Hold(reason, interlock.look_again_s)
    if conditions.clock_trusted and wish.issued_at > conditions.now + FUTURE_TOLERANCE:
        return Closed(Phase.REJECTED, Reason(ReasonCode.INVALID_REQUEST, "issued_at lies in the future"))
    return None
