"""What applications say of themselves: who counts, for how long, and which faults follow."""

from __future__ import annotations

import math

import pytest

from agent.contract.selling import AppStatus, Selling
from agent.errors import Refused
from agent.runtime.process_identity import Process
from agent.selling.applications import MOST_STRANGERS, Applications
from agent.selling.rules import judge

SHOP, PASSER_BY = Process(1000, 41, 900), Process(1000, 77, 950)
UNIT = "payment.service"


def status(ready: bool = True, signed_in: bool = True, reversals: int = 0, unknown: int = 0, saf: int = 0) -> AppStatus:
    return AppStatus(ready, signed_in, "000001", reversals, unknown, saf)


def applications(*units: str, alive: bool = True) -> Applications:
    return Applications({unit: unit.removesuffix(".service") for unit in units}, lambda _process: alive, began_s=0.0)


def active(room: Applications, now_s: float) -> set[tuple[str, str]]:
    grace = room.facts(now_s).start_left_s
    return {(one.code, one.device) for one in judge(room, now_s, grace) if one.active}


def test_with_none_configured_there_is_none_to_wait_for() -> None:
    assert applications().facts(0.0) == Selling()


def test_after_a_start_every_configured_application_is_waited_for_but_not_for_ever() -> None:
    room = applications(UNIT, "kiosk.service")
    room.report(SHOP, UNIT, status(), 10.0)
    assert room.facts(30.0).start_left_s == 150.0
    room.report(PASSER_BY, "kiosk.service", status(), 40.0)
    assert room.facts(40.0) == Selling()


def test_one_that_never_speaks_is_silent_for_ever_once_its_grace_is_over() -> None:
    room = applications(UNIT)
    assert room.facts(179.0) == Selling(start_left_s=1.0)
    assert room.facts(180.0) == Selling(silent_s=math.inf)
    assert active(room, 179.0) == set()
    assert active(room, 180.0) == {("SW-APP-001", "payment")}
    room.report(SHOP, UNIT, status(), 200.0)
    assert room.facts(200.0) == Selling()
    assert active(room, 200.0) == set()


def test_a_status_counts_for_ninety_seconds_and_its_numbers_stay() -> None:
    room = applications(UNIT)
    room.report(SHOP, UNIT, status(reversals=2, unknown=1, saf=3), 0.0)
    assert room.facts(90.0) == Selling(None, None, None, 2, 1, 3)
    assert room.facts(91.0) == Selling(None, None, 91.0, 2, 1, 3)
    assert active(room, 91.0) == {("SW-APP-001", "payment")}


def test_each_application_speaks_for_itself() -> None:
    room = applications(UNIT)
    room.report(SHOP, UNIT, status(reversals=2), 0.0)
    room.report(PASSER_BY, None, status(reversals=1, saf=1), 0.0)
    room.report(PASSER_BY, None, status(reversals=5), 1.0)
    assert room.facts(1.0) == Selling(pending_reversals=7)


def test_another_process_of_the_same_unit_is_the_same_application() -> None:
    room = applications(UNIT)
    room.report(SHOP, UNIT, status(reversals=2), 0.0)
    room.report(Process(1000, 43, 990), UNIT, status(), 5.0)
    assert room.facts(5.0) == Selling()
    assert room.last_report_s(UNIT) == 5.0


def test_one_that_came_by_is_forgotten_when_it_is_gone_and_its_word_is_stale() -> None:
    gone = applications(alive=False)
    gone.report(PASSER_BY, None, status(reversals=1), 0.0)
    assert gone.facts(90.0).pending_reversals == 1
    assert gone.facts(90.1) == Selling()
    there = applications(alive=True)
    there.report(PASSER_BY, None, status(reversals=1), 0.0)
    assert there.facts(1000.0) == Selling(silent_s=1000.0, pending_reversals=1)


def test_a_configured_one_is_never_forgotten() -> None:
    room = applications(UNIT, alive=False)
    room.report(SHOP, UNIT, status(reversals=1), 0.0)
    assert room.facts(1000.0) == Selling(silent_s=1000.0, pending_reversals=1)


def test_of_several_that_are_silent_the_one_that_spoke_last_counts() -> None:
    room = applications(UNIT, "kiosk.service")
    room.report(SHOP, UNIT, status(), 0.0)
    room.report(PASSER_BY, "kiosk.service", status(), 900.0)
    assert room.facts(1000.0) == Selling(silent_s=100.0), "nobody may be restarted yet: 100 s are not 120 s"
    room.report(PASSER_BY, "kiosk.service", status(), 1001.0)
    assert room.facts(1001.0) == Selling(silent_s=1001.0)


def test_too_many_that_come_by_are_refused_and_the_configured_one_is_not() -> None:
    room = applications(UNIT)
    for pid in range(MOST_STRANGERS):
        room.report(Process(1000, pid + 100, 1), None, status(), 0.0)
    with pytest.raises(Refused) as caught:
        room.report(Process(1000, 99, 1), None, status(), 0.0)
    assert caught.value.reason == "TOO_MANY_APPLICATIONS"
    room.report(SHOP, UNIT, status(), 0.0)
    room.report(Process(1000, 100, 1), None, status(reversals=4), 1.0)  # known already
    assert room.facts(1.0).pending_reversals == 4


def test_the_latest_word_of_a_unit_is_known_whether_it_is_configured_or_not() -> None:
    room = applications(UNIT)
    assert room.last_report_s(UNIT) is None
    room.report(PASSER_BY, "other.service", status(), 7.0)
    assert room.last_report_s("other.service") == 7.0


@pytest.mark.parametrize("word", [status(ready=False), status(signed_in=False)])
def test_not_able_to_sell_is_a_fault_after_five_seconds_and_over_with_the_next_word(word: AppStatus) -> None:
    room = applications(UNIT)
    room.report(SHOP, UNIT, word, 10.0)
    assert active(room, 14.9) == set()
    room.report(SHOP, UNIT, word, 14.9)
    assert active(room, 15.0) == {("SW-APP-001", "payment")}
    room.report(SHOP, UNIT, status(), 16.0)
    assert active(room, 16.0) == set()


def test_a_stranger_that_cannot_sell_says_nothing_of_the_terminal() -> None:
    room = applications()
    room.report(PASSER_BY, None, status(ready=False), 0.0)
    assert active(room, 80.0) == set()


def test_money_that_waits_for_long_is_a_fault_until_it_is_through() -> None:
    room = applications(UNIT)
    for at_s in range(0, 14_401, 60):
        room.report(SHOP, UNIT, status(reversals=1, saf=1), float(at_s))
        expected = {("TXN-REV-001", "payment")} if at_s >= 900 else set()
        expected |= {("TXN-SAF-001", "payment")} if at_s >= 14_400 else set()
        assert active(room, float(at_s)) == expected
    room.report(SHOP, UNIT, status(), 14_461.0)
    assert active(room, 14_461.0) == set()


def test_it_is_known_when_something_turns_by_itself() -> None:
    room = applications(UNIT)
    assert room.next_turn_s(10.0) == 170.0
    room.report(SHOP, UNIT, status(), 10.0)
    assert room.next_turn_s(20.0) == 80.0
    assert room.next_turn_s(101.0) is None
