"""Each verb of posctl against a control socket that answers as the contract says; every exit code."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from agent.ctl.__main__ import main
from tests.kit.control_stub import ControlStub, RpcError
from tests.units.ctl.answers_for_tests import (
    BACKUP_ID,
    COMMAND_ID,
    HEALTH,
    INFO,
    NOT_READY,
    TRANSACTION_ID,
    entry,
    operation,
)

UUID7 = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


READING = [
    ["status"],
    ["health"],
    ["health", "printer-0"],
    ["health", "--history"],
    ["health", "printer-0", "--history", "--limit", "3"],
    ["check", "printer-0"],
    ["top"],
    ["ready"],
    ["txn", "list"],
    ["txn", "show", TRANSACTION_ID],
    ["txn", "summary"],
    ["command", "show", COMMAND_ID],
    ["command", "list"],
    ["command", "run", "ping"],
    ["command", "run", "ping", "--wait", "5"],
    ["journal", "verify"],
    ["backup", "list"],
    ["backup", "list", "--target", "card", "--limit", "5"],
    ["backup", "run"],
    ["backup", "run", "--kind", "snapshot", "--target", "card", "--reason", "ticket 4711"],
    ["backup", "verify"],
    ["backup", "verify", BACKUP_ID],
    ["backup", "verify", BACKUP_ID[-8:]],
]


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_verb_prints_lines_for_people_and_exits_0(
    words: list[str], stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out
    assert "\x1b" not in out  # not a terminal: no colour
    assert max(len(line) for line in out.splitlines()) <= 80


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_verb_prints_json_alone_when_asked(
    words: list[str], stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--json", "--socket", str(stub.path)]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), dict)


def test_json_keeps_what_a_newer_agent_adds_and_times_as_sent(
    stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["info"] == INFO
    assert shown["health"] == HEALTH
    assert [one["state"] for one in shown["operations"]] == ["running"]  # finished ones are history


def test_ready_exits_1_with_reasons_when_the_terminal_cannot_sell(
    stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.answers["readiness.get"] = NOT_READY
    assert main(["ready"]) == 1
    assert "HW-PRN-001" in capsys.readouterr().out
    assert main(["ready", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == NOT_READY


def test_top_elsewhere_than_on_a_terminal_is_one_page_and_json_is_one_document(
    stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["top"]) == 0
    out = capsys.readouterr().out
    assert "READY to sell" in out
    assert "Uplink   connected" in out
    assert "HW-PRN-002" in out
    assert main(["top", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"at", "info", "health", "readiness", "operations"}
    assert [one["state"] for one in shown["operations"]] == ["running"]


def test_a_journal_that_is_not_intact_exits_1(stub: ControlStub) -> None:
    stub.answers["journal.verify"] = {"intact": False, "upto_sequence": 1, "missing": 4}
    assert main(["journal", "verify"]) == 1


def test_txn_list_turns_pages_until_it_has_what_was_asked(
    stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    def page(params: Any) -> dict[str, Any]:
        begin = int(params.get("cursor", "0"))
        items = [entry(begin + i + 1, "sent") for i in range(params["limit"])]
        return {"items": items, "next_cursor": str(begin + params["limit"])}

    stub.answers["transaction.list"] = page
    assert main(["txn", "list", "--limit", "120", "--state", "sent", "--stan", "000731", "--batch", "000002"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count(TRANSACTION_ID[:6]) == 120
    assert "there are more" in captured.err
    asked = stub.asked("transaction.list")
    assert [params["limit"] for params in asked] == [50, 50, 20]
    assert all(params["state"] == "sent" and params["stan"] == "000731" for params in asked)


def test_txn_show_puts_the_history_in_order_whatever_order_it_came_in(
    stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["txn", "show", TRANSACTION_ID]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("approved")
    assert main(["txn", "show", TRANSACTION_ID, "--json"]) == 0
    assert [one["seq"] for one in json.loads(capsys.readouterr().out)["items"][0]["history"]] == [1, 2]


def test_txn_show_finds_every_transaction_of_a_trace_number(
    stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    other = TRANSACTION_ID[:-1] + "3"
    entries = [entry(1, "sent"), entry(2, "approved"), entry(3, "declined", transaction_id=other)]

    def listing(params: Any) -> dict[str, Any]:
        wanted = params.get("transaction_id")
        return {"items": [e for e in entries if wanted in {None, e["record"]["transaction_id"]}], "next_cursor": None}

    stub.answers["transaction.list"] = listing
    assert main(["txn", "show", "000731"]) == 0
    out = capsys.readouterr().out
    assert "123.45 CNY  approved" in out
    assert "123.45 CNY  declined" in out
    assert [params.get("stan") for params in stub.asked("transaction.list")] == ["000731", None, None]


def test_txn_show_of_nothing_exits_1(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.answers["transaction.list"] = {"items": [], "next_cursor": None}
    assert main(["txn", "show", TRANSACTION_ID]) == 1
    assert "no such transaction" in capsys.readouterr().err


def test_command_list_turns_pages_too(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.answers["command.list"] = lambda params: {"items": [operation("failed")] * params["limit"], "next_cursor": "c"}
    assert main(["command", "list", "--limit", "120"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count(COMMAND_ID) == 120
    assert "there are more" in captured.err


def test_command_run_sends_the_order_with_an_id_of_version_7(stub: ControlStub) -> None:
    words = ["command", "run", "check_device", "--reason", "ticket 4711", "device=printer-0", "level=internal"]
    assert main(words) == 0
    order = stub.asked("command.run")[0]
    command_id = order.pop("command_id")
    assert re.fullmatch(UUID7, command_id)
    assert order == {
        "name": "check_device",
        "arguments": {"device": "printer-0", "level": "internal"},
        "reason": "ticket 4711",
    }


def test_words_of_an_order_may_stand_around_options(stub: ControlStub) -> None:
    assert main(["command", "run", "check_device", "level=internal", "--wait", "5", "device=printer-0"]) == 0
    assert stub.asked("command.run")[0]["arguments"] == {"level": "internal", "device": "printer-0"}


def test_a_retry_keeps_its_id(stub: ControlStub) -> None:
    assert main(["command", "run", "ping", "--command-id", COMMAND_ID]) == 0
    assert stub.asked("command.run")[0]["command_id"] == COMMAND_ID


@pytest.mark.parametrize(
    ("final", "code"),
    [("succeeded", 0), ("failed", 1), ("rolled_back", 1), ("expired", 1), ("cancelled", 1), ("rejected", 4)],
)
def test_waiting_ends_with_the_final_state(
    final: str, code: int, stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    states = iter([operation("waiting", 2), operation("running", 3, step=1, steps=2), operation(final, 4)])
    stub.answers["command.get"] = lambda _params: next(states)
    assert main(["command", "run", "ping", "--wait", "20"]) == code
    out = capsys.readouterr().out
    assert "accepted" in out
    assert "step 1 of 2" in out
    assert final in out


@pytest.mark.parametrize("final", ["failed", "rejected"])
def test_a_state_that_is_final_at_once_counts_without_waiting(final: str, stub: ControlStub) -> None:
    stub.answers["command.run"] = operation(final, reason={"code": "INVALID_ARGUMENTS", "text": "device is missing"})
    assert main(["command", "run", "check_device"]) == (4 if final == "rejected" else 1)


def test_waiting_has_an_end(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    stub.answers["command.get"] = operation("running", 2)
    assert main(["command", "run", "ping", "--wait", "0.2"]) == 1
    assert "the order goes on" in capsys.readouterr().err


def test_a_signed_order_is_carried_in_by_hand(
    stub: ControlStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    envelope = {"payloadType": "t", "payload": "e30=", "signatures": [{"sig": "AA=="}]}
    file = tmp_path / "order.json"
    file.write_text(json.dumps(envelope, indent=1))
    assert main(["command", "run", "--envelope", str(file)]) == 0
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
    assert main(["command", "run", "--envelope", "-"]) == 0
    assert stub.asked("command.run") == [{"envelope": envelope}] * 2


def test_a_refusal_exits_4_and_says_why_as_json_too(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"code": "NOT_AUTHORISED", "hint": "ask a member of pos-admin"}
    stub.answers["command.run"] = RpcError(message="reset is for pos-admin", data=data)
    assert main(["command", "run", "reset", "--json"]) == 4
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["code"] == "NOT_AUTHORISED"
    assert "ask a member of pos-admin" in captured.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RpcError(-32602, "bad", {"code": "BAD_PARAMS", "field": "stan"}), 2),
        (RpcError(-32000, "gone", {"code": "NOT_FOUND"}), 1),
        (RpcError(-32602, "gone", {"code": "NOT_FOUND"}), 1),
        (RpcError(-32000, "full", {"code": "STORE_FULL"}), 1),
        (RpcError(-32603, "internal", {}), 1),
        (RpcError(-32601, "unknown", {"code": "METHOD_NOT_FOUND"}), 1),
        (RpcError(-32000, "queue", {"code": "QUEUE_FULL"}), 4),
    ],
)
def test_an_error_of_the_agent_ends_with_its_exit_code(error: RpcError, code: int, stub: ControlStub) -> None:
    stub.answers["transaction.list"] = error
    assert main(["txn", "list"]) == code


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["status", "--colour"],
        ["status", "extra"],
        ["status", "--timeout", "0"],
        ["status", "--timeout", "nan"],
        ["txn"],
        ["txn", "list", "--limit", "many"],
        ["txn", "list", "--from", "yesterday"],
        ["txn", "list", "--until", "2026-02-30"],
        ["txn", "list", "--from", "2026-11-21", "--until", "2026-11-20"],
        ["txn", "list", "--batch", "2"],
        ["txn", "list", "--stan", "00073x"],
        ["txn", "list", "--state", "a b"],
        ["txn", "summary", "--batch", "0000021"],
        ["backup"],
        ["backup", "list", "--limit", "0"],
        ["backup", "list", "--target", "../card"],
        ["backup", "list", "extra"],
        ["backup", "run", "--kind", "everything"],
        ["backup", "run", "--target", ""],
        ["backup", "run", "--wait", "nan"],
        ["backup", "run", "--command-id", "a b"],
        ["backup", "verify", "not-an-id"],
        ["backup", "verify", "abc"],
        ["backup", "verify", BACKUP_ID.upper()],
        ["health", "../x"],
        ["health", "--limit", "0"],
        ["check"],
        ["check", "printer 0"],
        ["check", "printer-0", "--wait", "-1"],
        ["check", "printer-0", "--level", "internal"],
        ["top", "printer-0"],
        ["command", "cancel"],
        ["command", "cancel", "a b"],
        ["command", "show", "../x"],
        ["command", "run"],
        ["command", "run", "ping", "level"],
        ["command", "run", "ping", "--bad"],
        ["command", "run", "ping", "--command-id", "../x"],
        ["command", "run", "ping", "--envelope", "x.json"],
        ["command", "run", "--envelope", "/nonexistent"],
        ["command", "run", "ping", "x=" + "y" * 70_000],
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_wrong_use_exits_2_before_anything_is_asked(words: list[str], stub: ControlStub) -> None:
    assert main(words) == 2
    assert stub.requests == []


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["command", "run", "--help"],
        ["top", "--help"],
        ["check", "--help"],
        ["backup", "run", "--help"],
        ["backup", "verify", "--help"],
        ["txn", "export", "--help"],
    ],
)
def test_help_exits_0(words: list[str]) -> None:
    assert main(words) == 0
