"""What holds an order back, pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from agent.commands.interlocks import INTERLOCKS, LONGEST_CLOCK_WAIT_S, Conditions, Wish, is_inside, may_begin
from agent.contract.command import ReasonCode, Window
from agent.workflow.engine import Hold
from agent.workflow.transition import Closed, Phase

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
WISH = Wish(NOW, NOW + timedelta(hours=1), None, True)
FINE = Conditions(NOW, time(2, 0), True, 0.0)


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


def test_nothing_in_the_way() -> None:
    assert may_begin(WISH, FINE) is None


def test_an_untrusted_clock_holds_what_needs_it_for_a_day_at_most() -> None:
    conditions = replace(FINE, clock_trusted=False)
    hold = may_begin(WISH, conditions)
    assert isinstance(hold, Hold)
    assert hold.reason.code is ReasonCode.CLOCK_UNTRUSTED
    assert may_begin(replace(WISH, needs_trusted_clock=False), conditions) is None
    closed = may_begin(WISH, replace(conditions, waited_s=LONGEST_CLOCK_WAIT_S))
    assert isinstance(closed, Closed)
    assert (closed.phase, closed.reason.code) == (Phase.EXPIRED, ReasonCode.CLOCK_UNTRUSTED)


def test_outside_its_window_an_order_waits_and_expiry_comes_first() -> None:
    wish = replace(WISH, window=Window("03:00", "04:00"))
    hold = may_begin(wish, FINE)
    assert isinstance(hold, Hold)
    assert hold.reason.code is ReasonCode.OUTSIDE_WINDOW
    assert may_begin(wish, replace(FINE, local_time=time(3, 0))) is None
    closed = may_begin(wish, replace(FINE, now=wish.expires_at))
    assert isinstance(closed, Closed)
    assert closed.reason.code is ReasonCode.EXPIRED


def test_a_clock_that_became_trusted_shows_that_an_order_is_from_the_future() -> None:
    wish = replace(WISH, issued_at=NOW + timedelta(minutes=6))
    closed = may_begin(wish, FINE)
    assert isinstance(closed, Closed)
    assert (closed.phase, closed.reason.code) == (Phase.REJECTED, ReasonCode.INVALID_REQUEST)
    assert may_begin(replace(wish, needs_trusted_clock=False), replace(FINE, clock_trusted=False)) is None


def test_every_line_of_the_table_has_its_own_reason() -> None:
    assert len({interlock.code for interlock in INTERLOCKS}) == len(INTERLOCKS)
    assert all(interlock.look_again_s > 0 and interlock.text for interlock in INTERLOCKS)
