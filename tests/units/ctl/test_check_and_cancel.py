"""`posctl health DEVICE`, `check` and `command cancel` against a control socket that answers as the contract says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.ctl.__main__ import main
from tests.kit.control_stub import ControlStub
from tests.units.ctl.answers_for_tests import CHANGE, COMMAND_ID, PRINTER, operation


def test_the_health_of_one_device_comes_with_its_faults(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", "printer-0"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("✗ printer-0 is failed since ")
    assert "HW-PRN-002" in out
    assert "memory" not in out
    assert main(["health", "printer-0", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["device"]["device"], [one["code"] for one in shown["faults"]]) == ("printer-0", ["HW-PRN-002"])
    assert main(["health", "memory"]) == 0
    assert "HW-PRN" not in capsys.readouterr().out


def test_the_health_of_no_device_of_this_terminal_exits_1(
    stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["health", "printer-9"]) == 1
    assert "it has: memory, printer-0" in capsys.readouterr().err


def test_the_history_of_a_device_is_asked_for_by_pages(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.answers["health.history"] = lambda params: {"items": [CHANGE] * params["limit"], "next_cursor": "c"}
    assert main(["health", "printer-0", "--history", "--limit", "60"]) == 0
    assert [(one["device"], one["limit"]) for one in stub.asked("health.history")] == [
        ("printer-0", 50),
        ("printer-0", 10),
    ]
    captured = capsys.readouterr()
    assert captured.out.count("✗ failed") == 60
    assert "--limit 300" in captured.err


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("degraded", 1), ("failed", 1), ("unknown", 1)])
@pytest.mark.parametrize("level", ["internal", "external"])
def test_check_waits_for_the_end_and_exits_by_the_devices_state(
    state: str, code: int, level: str, stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    result = {**PRINTER, "state": state, "detail": "as found"}
    states = iter([operation("running", 2), operation("succeeded", 3, result=result)])
    stub.answers["health.check"] = operation("accepted", name="check_device")
    stub.answers["command.get"] = lambda _params: next(states)
    words = ["check", "printer-0", *(["--external"] if level == "external" else [])]
    assert main(words) == code
    assert stub.asked("health.check") == [{"device": "printer-0", "level": level}]
    out = capsys.readouterr().out
    assert f"printer-0 is {state}" in out
    assert "as found" in out
    assert "HW-PRN-002" in out  # with what to do about it


@pytest.mark.parametrize(
    ("final", "code"), [("failed", 1), ("expired", 1), ("cancelled", 1), ("rolled_back", 1), ("rejected", 4)]
)
def test_a_check_that_did_not_succeed_says_why(
    final: str, code: int, stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = {"code": "STEP_TIMEOUT", "text": "no answer within 15 s"}
    stub.answers["health.check"] = operation(final, name="check_device", reason=reason)
    assert main(["check", "printer-0"]) == code
    assert "STEP_TIMEOUT: no answer within 15 s" in capsys.readouterr().out
    assert main(["check", "printer-0", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["state"] == final


def test_a_check_that_does_not_end_is_left_to_itself(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.answers["health.check"] = operation("waiting", reason={"code": "SALE_RUNNING", "text": "a sale is running"})
    stub.answers["command.get"] = stub.answers["health.check"]
    assert main(["check", "printer-0", "--external", "--wait", "0.2"]) == 1
    captured = capsys.readouterr()
    assert "SALE_RUNNING" in captured.out
    assert "the order goes on" in captured.err


def test_a_check_whose_result_is_not_known_here_is_not_called_ok(stub: ControlStub) -> None:
    stub.answers["health.check"] = operation("succeeded", result={"something": "newer"})
    assert main(["check", "printer-0"]) == 1


def test_a_check_of_an_agent_that_knows_none_says_so(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    del stub.answers["health.check"]
    assert main(["check", "printer-0"]) == 1
    assert "does not know health.check" in capsys.readouterr().err


OTHER_ID = COMMAND_ID[:-1] + "9"


def cancelling(stub: ControlStub, order: dict[str, Any], *target: dict[str, Any]) -> None:
    """Cancelling is an order of its own, ``order``; the other one goes through ``target``."""
    states = list(target)

    def get(params: Any) -> dict[str, Any]:
        if params["command_id"] == OTHER_ID:
            return {**order, "state": "succeeded"} if order["state"] == "accepted" else order
        return states.pop(0) if len(states) > 1 else states[0]

    stub.answers["command.cancel"] = {**order, "command_id": OTHER_ID, "name": "cancel"}
    stub.answers["command.get"] = get


def test_cancelling_is_seen_to_its_end(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    cancelling(stub, operation("accepted"), operation("running", 2), operation("cancelled", 3))
    assert main(["command", "cancel", COMMAND_ID]) == 0
    assert stub.asked("command.cancel") == [{"command_id": COMMAND_ID}]
    assert "cancelled" in capsys.readouterr().out


def test_an_agent_that_answers_with_the_cancelled_order_itself_will_do(stub: ControlStub) -> None:
    stub.answers["command.cancel"] = operation("cancelled", 3)
    stub.answers["command.get"] = operation("cancelled", 3)
    assert main(["command", "cancel", COMMAND_ID, "--json"]) == 0


def test_what_had_ended_before_is_not_cancelled(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    cancelling(stub, operation("succeeded"), operation("succeeded", 5))
    assert main(["command", "cancel", COMMAND_ID]) == 1
    assert "before it could be cancelled" in capsys.readouterr().err


@pytest.mark.parametrize(("final", "code"), [("rejected", 4), ("failed", 1)])
def test_a_refused_cancellation_says_so(
    final: str, code: int, stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = {"code": "NOT_AUTHORISED", "text": "for operators"}
    cancelling(stub, operation(final, reason=reason), operation("running"))
    assert main(["command", "cancel", COMMAND_ID]) == code
    assert "NOT_AUTHORISED" in capsys.readouterr().err


def test_a_cancellation_waits_no_longer_than_it_was_told(stub: ControlStub) -> None:
    cancelling(stub, operation("succeeded"), operation("running", 2))
    assert main(["command", "cancel", COMMAND_ID, "--wait", "0.2"]) == 1
