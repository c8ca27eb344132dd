"""The stub of these tests agrees with the agent: what posctl asks it would take, what it answers is of its form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.contract import backup_views, calls, rpc
from agent.contract.command import CommandState, LocalOrder
from agent.contract.health import HistoryPage, Readiness
from agent.ctl.__main__ import main
from agent.ctl.feed import KINDS
from tests.kit.control_stub import ControlStub
from tests.units.ctl.answers_for_tests import (
    BACKUP_ID,
    BACKUPS,
    BROKEN,
    CHANGE,
    COMMAND_ID,
    HEALTH,
    INFO,
    NOT_READY,
    PRINTER,
    RAISED,
    READY,
    SEGMENT,
    STORE_FIGURES,
    TRANSACTION_ID,
    entry,
    operation,
)

PARAMS: dict[str, type[msgspec.Struct]] = {
    "agent.info": rpc.Nothing,
    "health.get": rpc.Nothing,
    "readiness.get": rpc.Nothing,
    "journal.verify": rpc.Nothing,
    "transaction.list": rpc.TransactionListParams,
    "transaction.summary": rpc.TransactionListParams,
    "command.run": LocalOrder,
    "command.get": rpc.CommandGetParams,
    "command.list": rpc.CommandListParams,
    "health.history": rpc.HealthHistoryParams,
    "health.check": calls.HealthCheckParams,
    "command.cancel": calls.CommandCancelParams,
    "metrics.get": rpc.Nothing,
    "backup.list": rpc.BackupListParams,
    "backup.run": calls.BackupRunParams,
    "backup.verify": calls.BackupVerifyParams,
}
ANSWERS: dict[str, Any] = {
    "agent.info": INFO,
    "health.get": HEALTH,
    "readiness.get": READY,
    "command.list": {"items": [operation("running")], "next_cursor": None},
    "command.get": operation("succeeded"),
    "command.run": operation("accepted"),
    "transaction.list": {"items": [entry(1, "sent")], "next_cursor": None},
    "transaction.summary": {"items": [], "next_cursor": None},
    "journal.verify": {"intact": True, "upto_sequence": 2, "missing": []},
    "health.history": {"items": [CHANGE, RAISED], "next_cursor": None},
    "health.check": operation("succeeded", name="check_device", result={**PRINTER, "state": "ok"}),
    "metrics.get": {"store": STORE_FIGURES, "agent": {"uptime_s": 1.5}},
    "backup.list": BACKUPS,
    "backup.run": operation("succeeded", name="backup", result={"files": [SEGMENT], "problems": []}),
    "backup.verify": operation("succeeded", name="verify_backup", result={"right": 1, "wrong": [], "problems": []}),
    "command.cancel": operation("succeeded", command_id=COMMAND_ID[:-1] + "9", name="cancel"),
}


PROBLEM = {"target": "vault", "problem": "no answer within 10 s"}


def test_the_agent_takes_whatever_posctl_asks(tmp_path: Path) -> None:
    with ControlStub(tmp_path / "c.sock") as stub:
        stub.answers = dict(ANSWERS)
        for words in (
            ["status"],
            ["txn", "list", "--state", "unknown", "--stan", "000731", "--batch", "000002", "--limit", "7"],
            ["txn", "list", "--from", "2026-11-21", "--until", "2026-11-21T10:00:00.125+08:00"],
            ["txn", "export", "--out", str(tmp_path / "j.csv"), "--from", "2026-11-21T10:00", "--state", "approved"],
            ["txn", "show", TRANSACTION_ID],
            ["txn", "show", "000731"],
            ["txn", "summary", "--batch", "000002"],
            ["command", "run", "check_device", "device=printer-0", "level=internal", "--reason", "x", "--wait", "9"],
            ["command", "list"],
            ["command", "show", COMMAND_ID],
            ["journal", "verify"],
            ["health", "printer-0", "--history", "--limit", "7"],
            ["health", "--history"],
            ["check", "printer-0", "--external"],
            ["backup", "list", "--limit", "7", "--target", "card"],
            ["backup", "run", "--kind", "snapshot", "--target", "card", "--reason", "x"],
            ["backup", "verify", BACKUP_ID, "--reason", "x"],
            ["backup", "verify", BACKUP_ID[-8:]],
            ["command", "cancel", COMMAND_ID],
        ):
            if "cancel" in words:
                stub.answers["command.get"] = operation("cancelled")
            assert main([*words, "--socket", str(stub.path)]) == 0
        assert {method for method, _params in stub.requests} == set(PARAMS)
        for method, params in stub.requests:
            rpc.decode_params(params, PARAMS[method])


def test_the_events_that_top_asks_for_are_the_agents() -> None:
    wanted = rpc.decode_params({"kinds": list(KINDS)}, calls.EventsSubscribeParams)
    assert set(wanted.kinds) == set(calls.EventKind)


@pytest.mark.parametrize(
    ("answer", "shape"),
    [
        (HEALTH, rpc.HealthResult),
        ({"items": [CHANGE, RAISED], "next_cursor": None}, HistoryPage),
        (READY, Readiness),
        (BACKUPS, backup_views.BackupPage),
        ({"files": [SEGMENT], "problems": [PROBLEM]}, backup_views.BackupResult),
        ({"right": 1, "wrong": [BROKEN], "problems": [PROBLEM]}, backup_views.VerifyResult),
        (NOT_READY, Readiness),
        (operation("failed", reason={"code": "STEP_FAILED", "text": "x"}), CommandState),
    ],
)
def test_the_answers_of_the_stub_are_of_the_agents_own_form(answer: Any, shape: type[msgspec.Struct]) -> None:
    msgspec.json.decode(msgspec.json.encode(answer), type=shape)
