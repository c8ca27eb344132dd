"""Health messages have exactly the fields and words of the contract, and readiness follows from faults alone."""

from __future__ import annotations

import msgspec
import pytest

from agent.contract.health import DeviceHealth, Fault, Impact, PowerState, Readiness, ReadinessReason, Severity, State
from agent.health.readiness import LOCKED, STATE_UNKNOWN, assess
from drivers import contract as drivers

AT = "2026-11-21T02:00:00.000Z"


def _health(state: State) -> DeviceHealth:
    return DeviceHealth("printer-0", "pos_printer", state, PowerState.ONLINE, "", AT, AT)


def _fault(impact: Impact, device: str = "printer-0") -> Fault:
    return Fault("HW-PRN-002", device, Severity.S2, impact, AT, "paper end")


def test_a_message_is_decoded_as_it_was_encoded_and_takes_nothing_else() -> None:
    text = msgspec.json.encode(_health(State.OK))
    assert msgspec.json.decode(text, type=DeviceHealth) == _health(State.OK)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text[:-1] + b',"more":1}', type=DeviceHealth)


def test_power_states_are_those_of_the_drivers() -> None:
    assert {one.value for one in PowerState} == {one.value for one in drivers.PowerState}


@pytest.mark.parametrize("impact", list(Impact))
def test_only_impact_sale_stops_the_sale(impact: Impact) -> None:
    readiness = assess([_fault(impact)], [], AT)
    assert readiness.ready == (impact is not Impact.SALE)
    assert [reason.code for reason in readiness.reasons] == (["HW-PRN-002"] if impact is Impact.SALE else [])


@pytest.mark.parametrize("state", list(State))
def test_of_states_only_unknown_stops_the_sale(state: State) -> None:
    readiness = assess([], [_health(state)], AT)
    assert readiness.ready == (state is not State.UNKNOWN)


def test_an_unknown_device_whose_fault_says_why_is_one_reason() -> None:
    readiness = assess([_fault(Impact.SALE)], [_health(State.UNKNOWN)], AT)
    assert [reason.code for reason in readiness.reasons] == ["HW-PRN-002"]
    readiness = assess([_fault(Impact.SALE, "printer-1")], [_health(State.UNKNOWN)], AT)
    assert [reason.code for reason in readiness.reasons] == ["HW-PRN-002", STATE_UNKNOWN]


def test_a_lock_is_the_first_reason() -> None:
    lock = ReadinessReason(LOCKED, "by security", AT)
    readiness = assess([_fault(Impact.SALE)], [], AT, lock=lock)
    assert (readiness.ready, readiness.reasons[0]) == (False, lock)
    assert assess([], [], AT) == Readiness(True, (), AT)
