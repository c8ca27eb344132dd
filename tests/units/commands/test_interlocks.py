"""What holds an order back, pure: the whole table, cell by cell, against a second one written by hand."""

from __future__ import annotations

import math
from datetime import UTC, datetime, time, timedelta

import pytest
from msgspec.structs import replace

from agent.commands.interlocks import (
    INTERLOCKS,
    LONGEST_CLOCK_WAIT_S,
    Cell,
    Conditions,
    Wish,
    is_inside,
    may_begin,
    to_record,
)
from agent.commands.operation import Operation, Touch
from agent.contract.command import ReasonCode, Window
from agent.contract.selling import Selling
from agent.workflow.gate import Hold
from agent.workflow.transition import Closed, Phase

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
FINE = Conditions(now=NOW)
COLUMNS = (*("reading", "test", "device", "app_reset", "app_reinit", "service", "reboot"),)
B, D, R, X = "block", "defer", "record", None
TABLE: dict[str, tuple[Conditions, ReasonCode, tuple[str | None, ...]]] = {
    "clock": (replace(FINE, clock_fits=False), ReasonCode.CLOCK_UNTRUSTED, (D, D, D, D, D, D, D)),
    "window": (replace(FINE, inside_window=False), ReasonCode.OUTSIDE_WINDOW, (D, D, D, D, D, D, D)),
    "lease": (replace(FINE, selling=Selling(lease_left_s=9.0)), ReasonCode.SALE_RUNNING, (X, D, D, D, D, D, D)),
    "start": (replace(FINE, selling=Selling(start_left_s=99.0)), ReasonCode.SALE_RUNNING, (X, D, D, D, D, D, D)),
    "silent 100 s": (replace(FINE, selling=Selling(silent_s=100.0)), ReasonCode.BUSY_UNKNOWN, (X, B, B, D, B, B, B)),
    "silent 120 s": (replace(FINE, selling=Selling(silent_s=120.0)), ReasonCode.BUSY_UNKNOWN, (X, B, B, D, B, B, B)),
    "silent 121 s": (replace(FINE, selling=Selling(silent_s=121.0)), ReasonCode.BUSY_UNKNOWN, (X, B, B, R, B, B, B)),
    "never": (replace(FINE, selling=Selling(silent_s=math.inf)), ReasonCode.BUSY_UNKNOWN, (X, B, B, R, B, B, B)),
    "reversals": (
        replace(FINE, selling=Selling(pending_reversals=1)),
        ReasonCode.PENDING_REVERSALS,
        (X, X, R, R, B, B, B),
    ),
    "unknown": (replace(FINE, selling=Selling(unknown_results=2)), ReasonCode.UNKNOWN_RESULTS, (X, X, R, R, B, R, B)),
    "batch": (replace(FINE, unsettled_batch="000012"), ReasonCode.BATCH_UNSETTLED, (X, X, X, R, B, R, R)),
    "offline": (replace(FINE, selling=Selling(saf_count=3)), ReasonCode.SAF_PENDING, (X, X, R, R, B, R, R)),
    "battery": (replace(FINE, battery_pct=19.0), ReasonCode.OUTSIDE_WINDOW, (X, X, X, X, D, X, D)),
    "boot": (replace(FINE, since_boot_s=599.0), ReasonCode.TOO_MANY_TRIES, (X, X, X, X, X, X, D)),
    "tries": (replace(FINE, tries=3), ReasonCode.TOO_MANY_TRIES, (X, X, B, B, B, B, B)),
}
CELLS = [
    (row, Operation(column), cell)
    for row, (_conditions, _code, cells) in TABLE.items()
    for column, cell in zip(COLUMNS, cells, strict=True)
]


def _wish(operation: Operation = Operation.REBOOT, *, force: bool = False) -> Wish:
    return Wish(NOW, NOW + timedelta(hours=1), Touch(operation, force, "it"))


@pytest.mark.parametrize(("row", "operation", "cell"), CELLS, ids=[f"{row} and {op}" for row, op, _cell in CELLS])
@pytest.mark.parametrize("force", [False, True], ids=["plain", "forced"])
def test_every_cell_does_what_the_table_says(row: str, operation: Operation, cell: str | None, force: bool) -> None:
    conditions, code, _cells = TABLE[row]
    answer = may_begin(_wish(operation, force=force), conditions)
    noted = to_record(Touch(operation, force, "it"), conditions)
    wanted = R if force and cell == B else cell
    if wanted == B:
        assert isinstance(answer, Closed)
        assert (answer.phase, answer.reason.code) == (Phase.REJECTED, code)
    elif wanted == D:
        assert isinstance(answer, Hold)
        assert answer.reason.code is code
        assert 0 < answer.look_again_s <= 60
    else:
        assert answer is None
    if wanted == R:
        assert [reason.code for reason in noted] == [code]
        assert noted[0].text
    elif wanted != D:  # a row that only defers may share its condition with one that records
        assert noted == ()


def test_the_hand_written_table_covers_every_row_and_column() -> None:
    assert set(COLUMNS) == set(Operation)
    for interlock in INTERLOCKS:
        assert any(interlock.says(conditions) for conditions, _code, _cells in TABLE.values()), interlock.condition
        assert interlock.says(FINE) is None


def test_with_nothing_in_the_way_everything_begins() -> None:
    for operation in Operation:
        assert may_begin(_wish(operation), FINE) is None
        assert to_record(Touch(operation), FINE) == ()


def test_force_never_passes_a_sale_nor_the_time_between_reboots() -> None:
    for row in ("lease", "start", "boot"):
        assert isinstance(may_begin(_wish(force=True), TABLE[row][0]), Hold)


def test_while_a_sale_runs_nothing_else_is_decided_yet() -> None:
    both = replace(FINE, selling=Selling(lease_left_s=30.0, pending_reversals=1))
    hold = may_begin(_wish(), both)
    assert isinstance(hold, Hold)
    assert (hold.reason.code, hold.look_again_s) == (ReasonCode.SALE_RUNNING, 30.0)


def test_a_battery_that_lasts_a_battery_of_nobody_knows_and_a_machine_long_up_hold_nothing() -> None:
    for conditions in (replace(FINE, battery_pct=20.0), replace(FINE, since_boot_s=600.0), replace(FINE, tries=2)):
        assert may_begin(_wish(), conditions) is None


@pytest.mark.parametrize(
    ("begin", "end", "at", "inside"),
    [
        ("02:00", "05:00", "02:00", True),
        ("02:00", "05:00", "01:59:59", False),
        ("02:00", "05:00", "04:59:59", True),
        ("02:00", "05:00", "05:00", False),
        ("22:00", "05:00", "23:59:59", True),
        ("22:00", "05:00", "00:00", True),
        ("22:00", "05:00", "04:59", True),
        ("22:00", "05:00", "05:00", False),
        ("22:00", "05:00", "12:00", False),
        ("22:00", "00:00", "23:59", True),
        ("22:00", "00:00", "00:00", False),
        ("00:00", "05:00", "00:00", True),
    ],
)
def test_windows_may_cross_midnight(begin: str, end: str, at: str, inside: bool) -> None:
    assert is_inside(Window(begin, end), time.fromisoformat(at)) is inside


def test_an_untrusted_clock_holds_what_needs_it_for_a_day_at_most() -> None:
    conditions = replace(FINE, clock_trusted=False, clock_fits=False)
    assert isinstance(may_begin(_wish(), conditions), Hold)
    closed = may_begin(_wish(), replace(conditions, waited_s=LONGEST_CLOCK_WAIT_S))
    assert isinstance(closed, Closed)
    assert (closed.phase, closed.reason.code) == (Phase.EXPIRED, ReasonCode.CLOCK_UNTRUSTED)


def test_expiry_comes_before_everything_else() -> None:
    for conditions, _code, _cells in TABLE.values():
        closed = may_begin(_wish(), replace(conditions, now=NOW + timedelta(hours=1)))
        assert isinstance(closed, Closed)
        assert (closed.phase, closed.reason.code) == (Phase.EXPIRED, ReasonCode.EXPIRED)


def test_a_clock_that_became_trusted_shows_that_an_order_is_from_the_future() -> None:
    wish = replace(_wish(), issued_at=NOW + timedelta(minutes=6))
    closed = may_begin(wish, FINE)
    assert isinstance(closed, Closed)
    assert (closed.phase, closed.reason.code) == (Phase.REJECTED, ReasonCode.INVALID_REQUEST)
    assert may_begin(wish, replace(FINE, clock_trusted=False)) is None


def test_every_row_can_be_published() -> None:
    assert all(interlock.condition and interlock.cells for interlock in INTERLOCKS)
    assert {cell for interlock in INTERLOCKS for cell in interlock.cells.values()} == set(Cell)
