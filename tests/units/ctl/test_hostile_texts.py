"""Whatever the agent says, nothing of it steers the reader's terminal: every text field through every renderer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from agent.ctl import answers
from agent.ctl.render.backup import backup_lines, made_lines, read_lines
from agent.ctl.render.command import operation_line, operation_lines, operation_table
from agent.ctl.render.protection import protection_text
from agent.ctl.render.status import (
    checked_lines,
    device_lines,
    fault_lines,
    history_lines,
    readiness_lines,
    status_lines,
)
from agent.ctl.render.style import Style
from agent.ctl.render.top import Lost, View, frame
from agent.ctl.render.txn import entry_table, total_table, transaction_lines, verification_lines
from agent.ctl.snapshot import Snapshot
from agent.ctl.terminal_text import encoder_for
from tests.units.ctl.answers_for_tests import (
    BROKEN,
    CHANGE,
    FAULT,
    HEALTH,
    INFO,
    NOT_READY,
    PRINTER,
    RAISED,
    SEGMENT,
    STORE_FIGURES,
    TARGETS,
    entry,
    operation,
)

HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\x9dx\x9c\u202egnp\u2066\u200b\x00\x08\r\nnext\x7f\ue000"
FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ue000]")
PAINT = re.compile(r"\x1b\[[0-9;]*m")
AT = re.compile(r"\d{4}-\d\d-\d\dT")
NOW = datetime(2026, 11, 21, 2, 5, tzinfo=UTC)


def poisoned(value: Any) -> Any:
    """The same with every text hostile; times stay, since another form would not be taken at all."""
    if isinstance(value, dict):
        return {name: poisoned(item) for name, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return value + HOSTILE if isinstance(value, str) and not AT.match(value) else value


def made(value: object, shape: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(poisoned(value)), type=shape)


def advice(_code: str) -> tuple[str, str] | None:
    return None


INFO_ = made({**INFO, "mode": "development", "uplink": {"configured": True, "detail": "x"}}, answers.AgentInfo)
UP = made(INFO, answers.AgentInfo)
HEALTH_ = made({**HEALTH, "devices": [PRINTER, {**PRINTER, "state": "ok"}, {**PRINTER, "device": "b"}]}, answers.Health)
READINESS = made(NOT_READY, answers.Readiness)
REASON = {"code": "SALE_RUNNING", "text": "a sale is running"}
RUNNING = made(operation("running", step="a", steps=["a", "b"], progress=40, reason=REASON), answers.Operation)
FAILED = made(operation("failed", reason=REASON, result={"name": "text", "list": ["text"]}), answers.Operation)
ENTRY = made(entry(1, "approved", {"conflict_with": "x"}, memo="m", dcc={"amount_minor": 1, "currency": "x"}), Any)
ENTRIES = [msgspec.convert(ENTRY, answers.Entry)]
PROBLEM = {"target": "vault", "problem": "no answer"}
TOTAL = {"type": "sale", "count": 1, "sum_minor": 5, "provider": "p", "tid": "t", "batch_no": "b", "currency": "c"}
SNAPSHOTS = [Snapshot(NOW, info, HEALTH_, READINESS, (RUNNING, FAILED), {}) for info in (INFO_, UP)]

RENDERERS: dict[str, Callable[[Style], Sequence[str]]] = {
    "status": lambda s: status_lines(INFO_, HEALTH_, READINESS, [RUNNING], advice=advice, style=s),
    "status, connected": lambda s: status_lines(UP, HEALTH_, READINESS, [], advice=advice, style=s),
    "readiness": lambda s: readiness_lines(READINESS, s),
    "devices": lambda s: device_lines(HEALTH_.devices, s),
    "checked": lambda s: checked_lines(HEALTH_.devices[0], HEALTH_.faults, advice, s),
    "history": lambda s: history_lines([made(one, answers.HealthChange) for one in (CHANGE, RAISED)], s),
    "faults": lambda s: fault_lines([made(FAULT, answers.Fault)], advice, s),
    "an order in a line": lambda _s: [operation_line(RUNNING), operation_line(FAILED)],
    "an order": lambda s: [*operation_lines(RUNNING, s), *operation_lines(FAILED, s)],
    "orders": lambda s: operation_table([RUNNING, FAILED], s),
    "entries": lambda s: entry_table(ENTRIES, s),
    "a transaction": lambda s: transaction_lines(ENTRIES, s),
    "copies": lambda s: [protection_text(made(STORE_FIGURES, answers.StoreFigures), s), "next"],
    "backups": lambda s: backup_lines(
        made(TARGETS, list[answers.BackupTarget]), made([SEGMENT, BROKEN], list[answers.Backup]), s
    ),
    "a backup made": lambda s: made_lines(made({"files": [SEGMENT], "problems": [PROBLEM]}, answers.BackupMade), s),
    "backups read": lambda s: read_lines(
        made({"right": 1, "wrong": [BROKEN], "problems": [PROBLEM]}, answers.BackupsRead), s
    ),
    "totals": lambda s: total_table([made(TOTAL, answers.Total)], s),
    "a verification": lambda s: verification_lines(made({"intact": False, "missing": ["x"]}, answers.Verification), s),
    **{
        f"top, {columns} by {rows}{', lost' if lost else ''}": lambda s, c=columns, r=rows, lost_=lost: [  # type: ignore[misc]
            line
            for snapshot in SNAPSHOTS
            for scroll in (0, 3)
            for line in frame(
                View(snapshot, NOW, lost_, scroll=scroll), r, Style(s.colour, c), lambda _code: ("title", "do this")
            ).lines
        ]
        for columns, rows in ((80, 24), (40, 12), (140, 60), (100, None))
        for lost in (None, Lost("gone" + HOSTILE, "look" + HOSTILE, NOW))
    },
}


@pytest.mark.parametrize("name", RENDERERS)
@pytest.mark.parametrize("colour", [False, True])
def test_no_text_of_the_agent_steers_the_terminal(name: str, colour: bool) -> None:
    lines = RENDERERS[name](Style(colour=colour, width=100))
    assert lines
    said = "\n".join(lines)
    assert "next" in said or "top" in name  # the text itself is there
    for line in lines:
        left = PAINT.sub("", line) if colour else line
        assert not FORBIDDEN.search(left), repr(left)


def test_the_poison_is_in_every_text_field() -> None:
    assert INFO_.terminal.site.endswith(HOSTILE)
    assert HEALTH_.faults[0].detail.endswith(HOSTILE)
    assert RUNNING.step.endswith(HOSTILE)


@pytest.mark.parametrize("environment", [{"LC_ALL": "C"}, {"LANG": "POSIX"}])
def test_a_terminal_without_utf_8_gets_ascii_of_the_same_width(environment: dict[str, str]) -> None:
    encode = encoder_for("utf-8", environment.get)
    assert encode("✓ ok → 打 … ✗ é") == b"+ ok > ?? . x ?"
    assert encoder_for("ascii", lambda _name: None)("✓") == b"+"
    assert encoder_for("iso8859-1", lambda _name: None)("é ✓") == b"\xe9 +"
    assert encoder_for("utf-8", {"LANG": "de_DE.UTF-8"}.get)("✓ 打") == "✓ 打".encode()
