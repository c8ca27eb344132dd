"""A control socket that answers each call of posctl as the contract says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.control_stub import ControlStub
from tests.units.ctl.answers_for_tests import (
    BACKUPS,
    CHANGE,
    HEALTH,
    INFO,
    PRINTER,
    READY,
    STORE_FIGURES,
    entry,
    operation,
)


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlStub]:
    with ControlStub(tmp_path / "control.sock") as server:
        monkeypatch.setenv("POS_AGENT_CONTROL_SOCKET", str(server.path))
        server.answers = {
            "agent.info": INFO,
            "health.get": HEALTH,
            "readiness.get": READY,
            "command.list": {"items": [operation("running"), operation("succeeded")], "next_cursor": None},
            "command.get": operation("succeeded", 3, result={"pong": True}),
            "command.run": operation("accepted"),
            "health.check": operation("succeeded", 3, name="check_device", result={**PRINTER, "state": "ok"}),
            "health.history": {"items": [CHANGE], "next_cursor": None},
            "transaction.list": {"items": [entry(2, "approved"), entry(1, "sent")], "next_cursor": None},
            "transaction.summary": {"items": [{"type": "sale", "count": 1, "sum_minor": 5, "currency": "156"}]},
            "journal.verify": {"intact": True, "upto_sequence": 2, "missing": 0},
            "metrics.get": {"store": {**STORE_FIGURES, "commits": 7}, "agent": {"uptime_s": 1.5}},
            "backup.list": BACKUPS,
            "backup.run": operation("accepted", name="backup"),
            "backup.verify": operation("accepted", name="backup"),
        }
        yield server
