"""Where the journal's entries have copies, as status, top and txn show tell it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.ctl.__main__ import main
from agent.ctl.answers import StoreFigures
from agent.ctl.render.protection import protection_text
from agent.ctl.render.style import Style
from tests.kit.control_stub import ControlStub, RpcError
from tests.units.ctl.answers_for_tests import STORE_FIGURES, TRANSACTION_ID, entry


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (StoreFigures(), ""),
        (StoreFigures(0), "every entry is protected: backup or collector has it, too"),
        (StoreFigures(1, 9.6), "1 entry not protected yet, the oldest for 9 s"),
        (StoreFigures(12, 183.0), "\x1b[33m12 entries not protected yet, the oldest for 3 min 3 s\x1b[0m"),
        (StoreFigures(3), "3 entries not protected yet"),
    ],
)
def test_the_line_says_how_many_are_here_alone_and_for_how_long(figures: StoreFigures, said: str) -> None:
    assert protection_text(figures, Style(colour=True)) == said


@pytest.mark.parametrize("verb", ["status", "top"])
def test_status_and_top_show_it_where_the_agent_tells(
    verb: str, stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Copies")]
    assert [line.split("  ")[-1].strip() for line in said] == ["12 entries not protected yet, the oldest for 3 min 3 s"]
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["copies"] == STORE_FIGURES


@pytest.mark.parametrize(
    "answer",
    [{}, {"store": {}}, {"store": {"commits": 4}}, RpcError(-32601, "unknown", {"code": "METHOD_NOT_FOUND"})],
    ids=str,
)
@pytest.mark.parametrize("verb", ["status", "top"])
def test_an_agent_that_does_not_tell_is_shown_without(
    verb: str, answer: Any, stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.answers["metrics.get"] = answer
    assert main([verb]) == 0
    assert "Copies" not in capsys.readouterr().out
    assert main(["status", "--json"]) == 0
    assert "copies" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("seq", "held", "said"),
    [
        (400, {"local": True, "backup": True, "collector": False}, "this terminal, backup; not yet: collector"),
        (401, {"local": True, "backup": False, "collector": False}, "this terminal; not yet: backup, collector"),
        (7, {"local": True, "backup": True, "collector": True}, "this terminal, backup, collector"),
    ],
)
def test_a_transaction_says_where_all_its_entries_are(
    seq: int, held: dict[str, bool], said: str, stub: ControlStub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.answers["metrics.get"] = {"store": {**STORE_FIGURES, "delivered_upto": 7}}
    stub.answers["transaction.list"] = {"items": [entry(1, "sent"), entry(seq, "approved")], "next_cursor": None}
    assert main(["txn", "show", TRANSACTION_ID]) == 0
    assert f"  copies        {said}" in capsys.readouterr().out
    assert main(["txn", "show", TRANSACTION_ID, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"][0]["copies"] == held
    stub.answers["metrics.get"] = {}
    assert main(["txn", "show", TRANSACTION_ID, "--json"]) == 0
    assert "copies" not in json.loads(capsys.readouterr().out)["items"][0]
