"""Faults that other rooms report: delays, ageing, restarts, and what they do to the outbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.contract.faults import CATALOGUE, DAY_S
from agent.health.monitor import DEFAULT_DELAYS
from agent.health.reported import CONFIRM_AFTER_RESTART_S, Delay, Moment, ReportedFaults
from tests.kit.health_room import health_room, until
from tests.kit.manual_clock import ManualClock

MQTT, PAN, DAMAGED = CATALOGUE["NET-MQT-001"], CATALOGUE["SEC-PAN-001"], CATALOGUE["TXN-JRN-002"]


def _at(now_s: float) -> Moment:
    return Moment(now_s, round(now_s * 1000))


def _codes(faults: ReportedFaults, now_s: float) -> set[str]:
    faults.advance(now_s)
    return {code for code, _device in faults.active()}


def test_a_broker_that_is_away_for_a_moment_is_no_fault() -> None:
    faults = ReportedFaults(DEFAULT_DELAYS)
    for now_s in range(0, 600, 50):
        faults.report(MQTT, "uplink", True, "no route", _at(now_s))
        faults.report(MQTT, "uplink", False, "", _at(now_s + 40))
        assert _codes(faults, now_s + 49) == set()
    assert faults.next_turn_s() is None


def test_a_broker_that_stays_away_is_a_fault_and_a_short_return_does_not_end_it() -> None:
    faults = ReportedFaults({"NET-MQT-001": Delay(60.0, 5.0)})
    faults.report(MQTT, "uplink", True, "no route", _at(0))
    faults.report(MQTT, "uplink", True, "refused", _at(30))  # repeating does not begin the wait anew
    assert faults.next_turn_s() == 60
    assert _codes(faults, 59.9) == set()
    assert _codes(faults, 60) == {"NET-MQT-001"}
    faults.report(MQTT, "uplink", False, "", _at(70))
    faults.report(MQTT, "uplink", True, "again", _at(74))
    assert _codes(faults, 80) == {"NET-MQT-001"}
    faults.report(MQTT, "uplink", False, "", _at(90))
    assert _codes(faults, 95) == set()


def test_an_event_ages_out_after_its_last_time() -> None:
    faults = ReportedFaults({})
    faults.report(PAN, "payment", True, "R2", _at(0))
    faults.report(PAN, "payment", True, "R3", _at(3600))
    assert _codes(faults, DAY_S + 3599) == {"SEC-PAN-001"}
    assert _codes(faults, DAY_S + 3600) == set()
    faults.report(PAN, "payment", True, "R2", _at(2 * DAY_S))
    assert _codes(faults, 2 * DAY_S) == {"SEC-PAN-001"}


def test_a_flood_of_the_same_event_moves_its_stored_end_at_most_once_an_hour() -> None:
    faults, ends = ReportedFaults({}), set()
    for now_s in range(0, 7200, 10):
        faults.report(PAN, "payment", True, "R2", _at(now_s))
        (report,) = faults.active().values()
        ends.add(report.until_ms)
    assert len(ends) == 2


def test_after_a_restart_a_condition_must_be_found_again() -> None:
    faults = ReportedFaults({})
    faults.restore(MQTT, "uplink", "d", None, _at(0))
    faults.restore(DAMAGED, "journal", "d", None, _at(0))
    assert _codes(faults, 10) == {"NET-MQT-001", "TXN-JRN-002"}
    assert _codes(faults, CONFIRM_AFTER_RESTART_S) == {"TXN-JRN-002"}
    faults.restore(MQTT, "uplink", "d", None, _at(1000))
    faults.report(MQTT, "uplink", True, "d", _at(1010))
    assert _codes(faults, 5000) == {"NET-MQT-001", "TXN-JRN-002"}


@pytest.mark.parametrize(("until_ms", "left_s"), [(50_000, 49.0), (None, 0.0), (-5, 0.0), (10**12, DAY_S)])
def test_a_restored_event_lasts_no_longer_than_it_may(until_ms: int | None, left_s: float) -> None:
    faults = ReportedFaults({})
    faults.restore(PAN, "payment", "d", until_ms, _at(1))
    assert _codes(faults, 1 + left_s) == set()
    if left_s:
        faults.restore(PAN, "payment", "d", until_ms, _at(1))
        assert _codes(faults, 0.5 + left_s) == {"SEC-PAN-001"}


async def test_a_report_is_published_kept_over_a_restart_and_ages_out(tmp_path: Path) -> None:
    clock = ManualClock()
    async with health_room(tmp_path, [], clock=clock) as room:
        room.monitor.report("SEC-PAN-001", "payment", True, "rule R2 in memo")
        await room.awaited("agent/e/fault")
        assert room.faults() == {"SEC-PAN-001": "security"}
        assert room.ready()
        room.monitor.report("NO-SUC-999", "payment", True, "a code that is in no catalogue harms nobody")
        before = room.monitor.snapshot().faults
    clock.advance(DAY_S - 60)
    async with health_room(tmp_path, [], clock=clock) as room:
        await until(lambda: room.monitor.snapshot().faults == before)
        clock.advance(60)
        events = await room.awaited("agent/e/fault", 2)
        assert [event["type"] for event in events] == ["pos-agent.fault.raised", "pos-agent.fault.cleared"]
        assert (await room.messages("agent/faults"))[-1]["faults"] == []


async def test_a_delayed_report_turns_by_itself_at_its_time(tmp_path: Path) -> None:
    clock = ManualClock()
    async with health_room(tmp_path, [], clock=clock, delays=DEFAULT_DELAYS) as room:
        room.monitor.report("NET-MQT-001", "uplink", True, "connection refused")
        await until(lambda: clock._sleepers)
        clock.advance(59)
        assert room.faults() == {}
        clock.advance(1)
        await until(lambda: room.faults() == {"NET-MQT-001": "none"})
