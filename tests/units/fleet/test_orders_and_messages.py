"""The pure parts of the fleet's side: payloads of orders, lines about messages, the tally of an order."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.command import Window
from agent.contract.mqtt_api import CHANNELS
from agent.errors import BadRequest
from agent.fleet.messages import FINAL, OperationState, describe, origin, read_state
from agent.fleet.orders import Recipient, Wish, issued_at_of, life, order_for, window
from agent.fleet.screen import BAD, GOOD
from agent.fleet.tally import Outcome, Tally
from agent.runtime.identifiers import uuid7
from tests.kit.hostile import payloads

COMMAND_ID = "0192f6d0-7c1e-7000-8000-000000000001"


RESET = {"level": "device", "device": "printer-0"}


def wish(**changes: object) -> Wish:
    facts = {"name": "reset", "arguments": RESET, "life": timedelta(hours=1)}
    return Wish(**{**facts, **changes})  # type: ignore[arg-type]


def to(terminal: str, command_id: str = COMMAND_ID, serial: str | None = None) -> Recipient:
    return Recipient(terminal, command_id, serial)


def test_an_order_has_the_fields_of_the_contract() -> None:
    payload = order_for(wish(reason="ticket 4711", window=Window("02:00", "05:00")), to("T-0001", serial="SN123"))
    order = json.loads(payload)
    issued = datetime.fromtimestamp(0x0192F6D07C1E / 1000, UTC)
    assert order == {
        "command_id": COMMAND_ID,
        "name": "reset",
        "target": {"terminal": "T-0001", "serial": "SN123"},
        "issued_at": issued.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "expires_at": (issued + timedelta(hours=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "arguments": RESET,
        "reason": "ticket 4711",
        "window": {"from": "02:00", "to": "05:00"},
    }


def test_what_was_not_said_is_not_in_the_order() -> None:
    order = json.loads(order_for(wish(), to("T-0001")))
    assert set(order) == {"command_id", "name", "target", "issued_at", "expires_at", "arguments"}
    assert order["target"] == {"terminal": "T-0001"}


def test_the_same_id_and_words_make_the_very_same_order() -> None:
    assert order_for(wish(), to("T-0001")) == order_for(wish(), to("T-0001"))


def test_a_new_order_is_issued_now() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    assert before <= issued_at_of(uuid7()) <= datetime.now(UTC) + timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "command_id", ["", "cmd-1", COMMAND_ID.upper(), COMMAND_ID.replace("-7000-", "-4000-"), f"{{{COMMAND_ID}}}"]
)
def test_an_id_of_another_kind_is_refused(command_id: str) -> None:
    with pytest.raises(BadRequest):
        order_for(wish(), to("T-0001", command_id))


@pytest.mark.parametrize("changes", [{"life": timedelta(days=31)}, {"life": timedelta(0)}, {"name": "Reset"}])
def test_an_order_that_no_terminal_would_take_is_not_made(changes: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        order_for(wish(**changes), to("T-0001"))


def test_only_harmless_orders_go_to_a_whole_site() -> None:
    assert json.loads(order_for(wish(name="ping", arguments={}), to("_all")))["target"] == {"terminal": "_all"}
    for name, arguments in (("reset", RESET), ("check_device", {"device": "printer-0", "level": "external"})):
        with pytest.raises(BadRequest, match="whole site"):
            order_for(wish(name=name, arguments=arguments), to("_all"))


def test_times_and_windows_are_read() -> None:
    assert life("90s") == timedelta(seconds=90)
    assert life("7d") == timedelta(days=7)
    assert window("22:30-05:00") == Window("22:30", "05:00")


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1.5h", "0s", "1w", "1h "])
def test_another_form_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a time is written as"):
        life(text)


@pytest.mark.parametrize("text", ["", "2:00-5:00", "24:00-05:00", "02:00", "02:60-03:00"])
def test_another_form_of_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a window is written as"):
        window(text)


def test_a_topic_is_taken_apart() -> None:
    assert origin("pos/v1/S-01/T-0001/dev/printer-0/health") == ("S-01", "T-0001", "dev/printer-0/health")
    assert origin("pos/v1/S-01/T-0001") is None
    assert origin("other/S-01/T-0001/agent/status") is None


@pytest.mark.parametrize(
    ("below", "content", "about", "text", "tone"),
    [
        ("agent/status", {"online": True, "conn": 7}, "status", "online (connection 7)", GOOD),
        ("agent/status", {"online": False}, "status", "offline", BAD),
        ("agent/readiness", {"ready": True, "reasons": []}, "readiness", "ready", GOOD),
        (
            "agent/readiness",
            {"ready": False, "reasons": [{"code": "HW-PRN-001", "text": "silent", "since": "x"}]},
            "readiness",
            "not ready: HW-PRN-001 silent",
            BAD,
        ),
        ("agent/faults", {"faults": []}, "faults", "none", GOOD),
        (
            "agent/faults",
            {"faults": [{"code": "HW-PRN-002", "device": "printer-0", "severity": "S2"}]},
            "faults",
            "HW-PRN-002 S2 printer-0",
            BAD,
        ),
        (
            "dev/printer-0/health",
            {"device": "printer-0", "state": "failed", "power_state": "offline", "detail": "no answer"},
            "dev/printer-0",
            "failed, power offline: no answer",
            BAD,
        ),
    ],
)
def test_a_message_becomes_a_line(below: str, content: object, about: str, text: str, tone: str) -> None:
    assert describe(below, json.dumps(content).encode()) == (about, text, tone)


def test_a_commands_state_becomes_a_line() -> None:
    state = {"command_id": COMMAND_ID, "name": "ping", "state": "running", "step": 1, "steps": 2, "progress": 50}
    said = describe(f"agent/op/ping/{COMMAND_ID}", json.dumps(state).encode())
    assert said is not None
    assert said.about == f"op ping {COMMAND_ID}"
    assert said.text == "running, step 1 of 2, 50 %"


@pytest.mark.parametrize("below", ["agent/m/host", "agent/txn", "agent/audit", "in/req/ping"])
def test_figures_and_uploads_are_not_shown(below: str) -> None:
    assert describe(below, b"{}") is None


@given(
    st.sampled_from(
        ["agent/status", "agent/readiness", "agent/faults", "agent/birth", "dev/p/health", "agent/op/a/b", "agent/e/x"]
    ),
    st.binary(max_size=40)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode),
)
def test_no_message_ends_the_program(below: str, payload: bytes) -> None:
    assert describe(below, payload) is not None
    read_state(payload)


def state(name: str, rev: int = 1) -> OperationState:
    return OperationState(COMMAND_ID, "ping", name, rev)


def test_a_tally_is_complete_when_everyone_has_come_to_an_end() -> None:
    tally = Tally(["T-1", "T-2"])
    assert tally.take("T-1", state("succeeded", 3))
    assert not tally.complete()
    assert tally.outcome() is Outcome.FAILED  # T-2 is silent
    assert not tally.take("T-3", state("succeeded"))  # nobody asked it
    assert tally.take("T-2", state("running", 2))
    assert tally.take("T-2", state("succeeded", 3))
    assert tally.complete()
    assert tally.outcome() is Outcome.SUCCEEDED


def test_a_repeat_or_an_older_state_changes_nothing() -> None:
    tally = Tally(["T-1"])
    assert tally.take("T-1", state("running", 3))
    assert not tally.take("T-1", state("running", 3))
    assert not tally.take("T-1", state("accepted", 1))
    assert tally.take("T-1", state("failed", 4))
    assert not tally.take("T-1", state("succeeded", 5))  # a final state is final


@pytest.mark.parametrize("final", sorted(FINAL))
def test_only_success_everywhere_is_success(final: str) -> None:
    tally = Tally(["T-1", "T-2"])
    tally.take("T-1", state("succeeded"))
    tally.take("T-2", state(final))
    assert tally.outcome() is (Outcome.SUCCEEDED if final == "succeeded" else Outcome.FAILED)


def test_refused_is_refused_by_everybody() -> None:
    tally = Tally(["T-1", "T-2"])
    tally.take("T-1", state("rejected"))
    assert tally.outcome() is Outcome.FAILED  # T-2 is silent
    tally.take("T-2", state("rejected"))
    assert tally.outcome() is Outcome.REFUSED
    assert tally.counts() == {"rejected": 2}


def test_an_order_to_a_whole_site_is_never_known_to_be_complete() -> None:
    tally = Tally(None)
    assert tally.outcome() is Outcome.FAILED  # nobody answered
    tally.take("T-9", state("succeeded"))
    assert not tally.complete()
    assert tally.outcome() is Outcome.SUCCEEDED


@settings(deadline=None)
@given(st.sampled_from([channel.below for channel in CHANNELS]), payloads)
def test_no_terminal_can_end_the_operators_program_by_what_it_publishes(below: str, payload: bytes) -> None:
    said = describe(below, payload)
    assert said is None or said.about
    read_state(payload)
