"""What may hold an accepted order back, as one table; and whether it may begin now. Pure.

Source: the product's contract, "Commands", and the domain's reset levels. `INTERLOCKS` is the published table: rows are
conditions, columns classes of operations, and a cell says what the condition does to the operation. Besides it, one
exclusive order runs at a time (``OPERATION_RUNNING``, the engine's own rule), and at most `MAX_WAITING` orders wait
(``QUEUE_FULL``, on admission). A lock and a freeze add their rows when they exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Final

from msgspec import Struct

from agent.commands.operation import Operation, Touch
from agent.contract.command import Reason, ReasonCode, Window
from agent.contract.selling import NOBODY_SELLS, Selling
from agent.workflow.gate import Hold
from agent.workflow.transition import Closed, Phase

MAX_WAITING: Final = 32
LONGEST_CLOCK_WAIT_S: Final = 24 * 3600.0
FUTURE_TOLERANCE: Final = timedelta(minutes=5)
SILENT_ENOUGH_S: Final = 120.0
"""A silent application may be restarted once its last word is so old."""
BETWEEN_REBOOTS_S: Final = 600.0
MAX_TRIES: Final = 3
TRIES_WITHIN: Final = timedelta(hours=1)
LOW_BATTERY_PCT: Final = 20.0
_LONGEST_LOOK_S: Final = 60.0


class Cell(StrEnum):
    """What a condition does to an operation."""

    BLOCK = "block"  # it is rejected
    DEFER = "defer"  # it waits
    RECORD = "record"  # it runs, and its result says so


class Wish(Struct, frozen=True):
    """What of an order matters here."""

    issued_at: datetime
    expires_at: datetime
    touch: Touch


class Conditions(Struct, frozen=True, kw_only=True):
    """How the terminal is, and how that suits the order.

    Attributes:
        inside_window: The order's window is open, or it has none.
        clock_fits: The clock is trusted, or the order does not need that.
        waited_s: Monotonic, since this process knows the order.
        battery_pct: Charge while the terminal runs on battery; None on mains, without battery, or where nobody knows.
        since_boot_s: Since the machine's last start, or the last ordered one; None where nobody knows.
        unsettled_batch: Number of a batch with money in it that is not settled.
        tries: How often resets of the target have failed within `TRIES_WITHIN`.
    """

    now: datetime
    inside_window: bool = True
    clock_trusted: bool = True
    clock_fits: bool = True
    waited_s: float = 0.0
    selling: Selling = NOBODY_SELLS
    battery_pct: float | None = None
    since_boot_s: float | None = None
    unsettled_batch: str | None = None
    tries: int = 0


class Interlock(Struct, frozen=True):
    """One row. ``says``: the reason's text while the condition holds, else None; ``condition`` is for documents.

    ``look_again_s``: when a deferred order is looked at again, besides whenever something is known to have changed;
    ``longest_s`` ends its waiting (None: its expiry does).
    """

    code: ReasonCode
    condition: str
    says: Callable[[Conditions], str | None]
    cells: Mapping[Operation, Cell]
    look_again_s: Callable[[Conditions], float] = lambda _conditions: _LONGEST_LOOK_S
    longest_s: float | None = None

    def cell(self, touch: Touch) -> Cell | None:
        """What it does to that operation; with force, what would be blocked is recorded."""
        cell = self.cells.get(touch.operation)
        return Cell.RECORD if cell is Cell.BLOCK and touch.force else cell


def is_inside(window: Window, at: time) -> bool:
    """Whether a time of day is in the window: from its beginning on, before its end, across midnight if need be."""
    begin, end = time.fromisoformat(window.begin), time.fromisoformat(window.end)
    return begin <= at < end if begin < end else at >= begin or at < end


def _cells(**cells: str) -> Mapping[Operation, Cell]:
    """A row's cells by the name of the operation; what is not named is not touched by the condition."""
    return {Operation(name): Cell(cell) for name, cell in cells.items()}


def _all(cell: Cell, *, but: frozenset[Operation] = frozenset()) -> Mapping[Operation, Cell]:
    return {operation: cell for operation in Operation if operation not in but}


def _sale(conditions: Conditions) -> str | None:
    if conditions.selling.lease_left_s is not None:
        return "a sale is under way"
    if conditions.selling.start_left_s is not None:
        return "the agent has just started, and not every payment application has reported yet"
    return None


def _sale_left_s(conditions: Conditions) -> float:
    left_s = (conditions.selling.lease_left_s, conditions.selling.start_left_s)
    return max((one for one in left_s if one is not None), default=0.0)


def _silent(conditions: Conditions) -> str | None:
    silent_s = conditions.selling.silent_s
    if silent_s is None:
        return None
    since = "has never reported" if math.isinf(silent_s) else f"has been silent for {silent_s:.0f} s"
    return f"a payment application {since}: whether it sells is not known"


def _silent_for_short(conditions: Conditions) -> str | None:
    silent_s = conditions.selling.silent_s
    return _silent(conditions) if silent_s is not None and silent_s <= SILENT_ENOUGH_S else None


def _counted(number: int, one: str, many: str) -> str | None:
    return f"{number} {one if number == 1 else many}" if number else None


def _unsettled(conditions: Conditions) -> str | None:
    batch_no = conditions.unsettled_batch
    return f"batch {batch_no} is not settled" if batch_no is not None else None


def _on_low_battery(conditions: Conditions) -> str | None:
    left_pct = conditions.battery_pct
    if left_pct is None or left_pct >= LOW_BATTERY_PCT:
        return None
    return f"the battery is at {left_pct:.0f} %: it begins on mains, or from {LOW_BATTERY_PCT:.0f} % on"


def _just_booted(conditions: Conditions) -> str | None:
    since_s = conditions.since_boot_s
    if since_s is None or since_s >= BETWEEN_REBOOTS_S:
        return None
    return f"the machine started {since_s:.0f} s ago: at most one reboot in {BETWEEN_REBOOTS_S / 60:.0f} minutes"


def _tried(conditions: Conditions) -> str | None:
    if conditions.tries < MAX_TRIES:
        return None
    return f"it failed {conditions.tries} times within an hour: somebody should look at it"


INTERLOCKS: Final = (
    Interlock(
        ReasonCode.CLOCK_UNTRUSTED,
        "the clock is not synchronised, and the order needs that",
        lambda conditions: None if conditions.clock_fits else "the clock is not synchronised",
        _all(Cell.DEFER),
        look_again_s=lambda _conditions: 30.0,
        longest_s=LONGEST_CLOCK_WAIT_S,
    ),
    Interlock(
        ReasonCode.OUTSIDE_WINDOW,
        "the order has a window, and it is not open",
        lambda conditions: None if conditions.inside_window else "the order's window is not open",
        _all(Cell.DEFER),
        look_again_s=lambda _conditions: 30.0,
    ),
    Interlock(
        ReasonCode.SALE_RUNNING,
        "a sale lease lives; or the agent has just started and a configured application has not reported",
        _sale,
        _all(Cell.DEFER, but=frozenset({Operation.READING})),
        look_again_s=_sale_left_s,
    ),
    Interlock(
        ReasonCode.BUSY_UNKNOWN,
        f"a payment application is silent, for at most {SILENT_ENOUGH_S:.0f} s",
        _silent_for_short,
        _cells(app_reset="defer"),
        look_again_s=lambda conditions: SILENT_ENOUGH_S - (conditions.selling.silent_s or 0.0) + 0.1,
    ),
    Interlock(
        ReasonCode.BUSY_UNKNOWN,
        "a payment application is silent",
        _silent,
        _cells(test="block", device="block", app_reset="record", app_reinit="block", service="block", reboot="block"),
    ),
    Interlock(
        ReasonCode.PENDING_REVERSALS,
        "reversals are still to be sent",
        lambda conditions: _counted(
            conditions.selling.pending_reversals, "reversal is still to be sent", "reversals are still to be sent"
        ),
        _cells(device="record", app_reset="record", app_reinit="block", service="block", reboot="block"),
    ),
    Interlock(
        ReasonCode.UNKNOWN_RESULTS,
        "transactions have no known result",
        lambda conditions: _counted(
            conditions.selling.unknown_results, "transaction has no known result", "transactions have no known result"
        ),
        _cells(device="record", app_reset="record", app_reinit="block", service="record", reboot="block"),
    ),
    Interlock(
        ReasonCode.BATCH_UNSETTLED,
        "a batch with money in it is not settled",
        _unsettled,
        _cells(app_reset="record", app_reinit="block", service="record", reboot="record"),
    ),
    Interlock(
        ReasonCode.SAF_PENDING,
        "offline sales are not sent yet",
        lambda conditions: _counted(
            conditions.selling.saf_count, "offline sale is not sent yet", "offline sales are not sent yet"
        ),
        _cells(device="record", app_reset="record", app_reinit="block", service="record", reboot="record"),
    ),
    Interlock(
        ReasonCode.OUTSIDE_WINDOW,  # the contract has no code for power; this one, too, waits for its time
        f"the terminal runs on battery below {LOW_BATTERY_PCT:.0f} %",
        _on_low_battery,
        _cells(app_reinit="defer", reboot="defer"),
    ),
    Interlock(
        ReasonCode.TOO_MANY_TRIES,
        f"the machine started less than {BETWEEN_REBOOTS_S / 60:.0f} minutes ago",
        _just_booted,
        _cells(reboot="defer"),
        look_again_s=lambda conditions: BETWEEN_REBOOTS_S - (conditions.since_boot_s or 0.0) + 0.1,
    ),
    Interlock(
        ReasonCode.TOO_MANY_TRIES,
        f"resets of the same target failed {MAX_TRIES} times within an hour",
        _tried,
        _cells(device="block", app_reset="block", app_reinit="block", service="block", reboot="block"),
    ),
)


def may_begin(wish: Wish, conditions: Conditions) -> Hold | Closed | None:
    """None: now. The first row that holds decides; an order that nothing holds still has to be within its time."""
    if conditions.now >= wish.expires_at:
        return Closed(Phase.EXPIRED, Reason(ReasonCode.EXPIRED, "it could not begin before its expiry"))
    for interlock in INTERLOCKS:
        cell = interlock.cell(wish.touch)
        text = interlock.says(conditions) if cell in (Cell.BLOCK, Cell.DEFER) else None
        if text is None:
            continue
        reason = Reason(interlock.code, text)
        if cell is Cell.BLOCK:
            return Closed(Phase.REJECTED, reason)
        if interlock.longest_s is not None and conditions.waited_s >= interlock.longest_s:
            return Closed(Phase.EXPIRED, reason)
        return Hold(reason, min(max(interlock.look_again_s(conditions), 0.1), _LONGEST_LOOK_S))
    if conditions.clock_trusted and wish.issued_at > conditions.now + FUTURE_TOLERANCE:
        return Closed(Phase.REJECTED, Reason(ReasonCode.INVALID_REQUEST, "issued_at lies in the future"))
    return None


def to_record(touch: Touch, conditions: Conditions) -> tuple[Reason, ...]:
    """What does not hold the operation back but belongs in its result."""
    found = ((one.code, one.says(conditions)) for one in INTERLOCKS if one.cell(touch) is Cell.RECORD)
    return tuple(Reason(code, text) for code, text in found if text is not None)
