"""Renderers: answers in, lines out. At 80 columns, in the reader's own time, most important first."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any

import msgspec
import pytest

from agent.ctl import answers
from agent.ctl.render.command import operation_line, operation_lines, operation_table
from agent.ctl.render.status import device_lines, fault_lines, history_lines, readiness_lines, status_lines
from agent.ctl.render.style import Style, columns
from agent.ctl.render.txn import entry_table, total_table, transaction_lines, verification_lines
from tests.units.ctl.answers_for_tests import (
    CHANGE,
    FAULT,
    HEALTH,
    INFO,
    NOT_READY,
    RAISED,
    READY,
    TRANSACTION_ID,
    entry,
    operation,
)

SHANGHAI = Style(zone=timezone(timedelta(hours=8)))


def made(value: object, shape: Any) -> Any:
    return msgspec.convert(value, shape)


def state(name: str, **changes: Any) -> answers.Operation:
    return msgspec.json.decode(msgspec.json.encode(operation(name, **changes)), type=answers.Operation)


def know(code: str) -> tuple[str, str] | None:
    return ("Printer out of paper", "Put in a new roll.") if code == "HW-PRN-002" else None


def test_status_says_everything_on_one_screen() -> None:
    running = state("running", step=2, steps=5, progress=40)
    lines = status_lines(
        made(INFO, answers.AgentInfo),
        made(HEALTH, answers.Health),
        made(READY, answers.Readiness),
        [running],
        advice=know,
        style=SHANGHAI,
    )
    text = "\n".join(lines)
    assert len(lines) <= 24
    assert max(columns(line) for line in lines) <= 80
    assert lines[0] == "READY to sell"
    for said in ("T-0001 at site S-01, serial SN123, model demo", "412 entries, last sequence 412", "up 5 min 3 s"):
        assert said in text
    assert "connected since 2026-11-21 10:00:00" in text
    assert "step 2 of 5, 40 %" in text
    assert "HW-PRN-002  S2  printer-0" in text
    assert "→ Put in a new roll." in text
    assert text.index("printer-0") < text.index("memory")  # the worst first


@pytest.mark.parametrize(
    ("uplink", "said"),
    [
        ({"configured": False}, "not configured"),
        ({"configured": True, "connected": False, "since": None, "detail": "refused"}, "not connected: refused"),
    ],
)
def test_status_tells_an_uplink_that_is_missing_from_one_that_is_down(uplink: dict[str, Any], said: str) -> None:
    info = made({**INFO, "uplink": uplink}, answers.AgentInfo)
    health = made({**HEALTH, "devices": [], "faults": []}, answers.Health)
    ready = made(READY, answers.Readiness)
    lines = status_lines(info, health, ready, [], advice=know, style=SHANGHAI)
    assert [line for line in lines if line.startswith("Uplink")] == [f"Uplink     {said}"]
    assert "Devices  none configured" in lines
    assert "Faults   none" in lines


def test_a_terminal_that_cannot_sell_gives_every_reason() -> None:
    lines = readiness_lines(made(NOT_READY, answers.Readiness), SHANGHAI)
    assert lines[0] == "NOT READY to sell"
    assert "HW-PRN-001  the printer does not answer (since 2026-11-21 10:00:00)" in " ".join(lines[1:]).replace(
        "      ", ""
    )


def test_silence_is_shown_as_unknown_and_not_as_healthy() -> None:
    shown = device_lines([answers.Device("printer-0", "pos_printer", "unknown")], Style(colour=True))
    assert "\x1b[33m? unknown\x1b[0m" in shown[1]


def test_a_fault_this_release_does_not_know_is_shown_all_the_same() -> None:
    fault = made({**FAULT, "code": "HW-NEW-001", "detail": "a\x1b[31mb"}, answers.Fault)
    text = "\n".join(fault_lines([fault], know, SHANGHAI))
    assert "HW-NEW-001" in text
    assert "\x1b" not in text


def test_the_most_severe_fault_comes_first() -> None:
    slight = made({**FAULT, "code": "HW-PRN-003", "severity": "S3"}, answers.Fault)
    grave = made({**FAULT, "code": "SEC-TMP-001", "severity": "S1"}, answers.Fault)
    lines = fault_lines([slight, grave], know, SHANGHAI)
    assert [line.split()[0] for line in lines if line.startswith("  ") and "S" in line.split()[1]] == [
        "SEC-TMP-001",
        "HW-PRN-003",
    ]


def test_entries_are_listed_with_amount_and_mark() -> None:
    entries = made([entry(411, "sent"), entry(412, "approved", {"conflict_with": 2})], list[answers.Entry])
    lines = entry_table(entries, SHANGHAI)
    assert max(columns(line) for line in lines) <= 80
    assert lines[1].split()[:7] == ["411", "11-21", "10:00:00", "sale", "sent", "123.45", "CNY"]
    assert "approved*" in lines[2]
    assert "marked" in lines[3]
    assert entry_table([], SHANGHAI) == ["no entries"]


def test_a_transaction_is_shown_as_it_is_now_with_its_history() -> None:
    history = made(
        [
            entry(1, "created"),
            entry(2, "approved", tip_minor=100, rrn="123456789012", dcc={"amount_minor": 500, "currency": "392"}),
            entry(3, "approved", {"conflict_with": 2}, amount_minor=99),
        ],
        list[answers.Entry],
    )
    lines = transaction_lines(history, SHANGHAI)
    text = "\n".join(lines)
    assert lines[0] == "sale  123.45 CNY  approved"  # the conflicting copy is not what it is
    assert f"transaction   {TRANSACTION_ID}" in text
    assert "tip_minor     1.00 CNY" in text
    assert "dcc           500 JPY" in text
    assert "0.99 CNY" in text
    assert lines[-1] == "  3 is marked: conflict with 2"


def test_a_table_of_totals_has_counts_and_sums() -> None:
    totals = made(
        [{"type": "sale", "count": 1200, "sum_minor": 5, "currency": "392", "batch_no": "000002", "tid": "1"}],
        list[answers.Total],
    )
    assert total_table(totals, SHANGHAI)[1].split() == ["-", "1", "000002", "sale", "1,200", "5", "JPY"]
    assert total_table([], SHANGHAI) == ["nothing to sum up"]


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (b"3", "3 entries missing"),
        (b"[7,9]", "missing: 7, 9"),
        (b"[3,5,4,9]", "missing: 3 to 5, 9"),
        (b"[]", "evidence"),
    ],
)
def test_a_broken_chain_says_where_it_ends(missing: bytes, said: str) -> None:
    text = "\n".join(verification_lines(answers.Verification(False, 6, msgspec.Raw(missing)), SHANGHAI))
    assert "NOT INTACT  the chain holds only up to sequence 6" in text
    assert said in text
    assert "evidence" in text


def test_a_command_is_shown_in_one_line_and_in_full() -> None:
    failed = state(
        "failed", reason={"code": "STEP_FAILED", "text": "no answer"}, result={"device": "printer-0", "n": 1}
    )
    assert operation_line(failed).endswith("failed (STEP_FAILED: no answer)")
    text = "\n".join(operation_lines(failed, SHANGHAI))
    assert "reason      STEP_FAILED: no answer" in text
    assert "device: printer-0" in text
    assert "updated     2026-11-21 10:00:00   revision 1" in text
    assert operation_table([failed], SHANGHAI)[1].split() == [failed.command_id, "ping", "failed", "11-21", "10:00"]
    assert operation_table([], SHANGHAI) == ["no commands recorded"]


def test_progress_is_told_of_what_is_under_way_only() -> None:
    assert "  progress    step 2 of 5, 40 %" in operation_lines(
        state("running", step=2, steps=5, progress=40), SHANGHAI
    )
    assert not any("step" in line for line in operation_lines(state("succeeded", step=5, steps=5), SHANGHAI))


def test_a_list_of_commands_fits_80_columns() -> None:
    long = msgspec.structs.replace(state("rolled_back"), name="collect_diagnostics_of_everything")
    assert max(columns(line) for line in operation_table([long], SHANGHAI)) <= 80


def test_the_history_tells_states_and_faults_apart() -> None:
    cleared = {**RAISED, "kind": "fault_cleared"}
    newer = {**RAISED, "kind": "something_newer"}
    changes = made([CHANGE, RAISED, cleared, newer], list[answers.HealthChange])
    lines = history_lines(changes, SHANGHAI)
    for line, said in zip(
        lines[1:],
        ("✗ failed, power online", "+ HW-PRN-002 S2  ", "- HW-PRN-002 S2 over", "something_newer HW-PRN-002"),
        strict=True,
    ):
        assert said in line
    assert history_lines([], SHANGHAI) == ["no changes recorded"]
