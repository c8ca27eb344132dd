"""The live screen's renderer: a snapshot and a size in, the lines of a frame out."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.ctl.render import banner
from agent.ctl.render.style import BAD, GOOD, Style, columns
from agent.ctl.render.top import Frame, Lost, View, frame
from agent.ctl.snapshot import Snapshot, assemble
from tests.units.ctl.answers_for_tests import FAULT, HEALTH, INFO, MEMORY, NOT_READY, PRINTER, READY, operation

ZONE = timezone(timedelta(hours=8))
NOW = datetime(2026, 11, 21, 2, 5, tzinfo=UTC)
PAINT = re.compile(r"\x1b\[[0-9;]*m")
NAMES = ("memory", "storage", "cpu", "network", "thermal", "clock", "power", "screen", "keypad")
MANY_DEVICES = [{**MEMORY, "device": name} for name in NAMES]
MANY_FAULTS = [{**FAULT, "code": f"HW-PRN-00{n}", "severity": f"S{1 + n % 4}"} for n in range(1, 9)]


def snapshot(**changes: Any) -> Snapshot:
    """As the agent would answer, with whole answers replaced: ``health={…}``."""
    answers = {"info": INFO, "health": HEALTH, "readiness": READY, "operations": [], **changes}
    calls = {
        "agent.info": answers["info"],
        "health.get": answers["health"],
        "readiness.get": answers["readiness"],
        "command.list": {"items": answers["operations"], "next_cursor": None},
    }
    return assemble({method: msgspec.Raw(msgspec.json.encode(value)) for method, value in calls.items()}, NOW)


def know(code: str) -> tuple[str, str] | None:
    return (f"title of {code}", f"what to do about {code}, " + "word " * 20) if code.startswith("HW") else None


def shown(view: View, columns_: int = 80, rows: int | None = 24, *, colour: bool = False) -> Frame:
    return frame(view, rows, Style(colour=colour, width=columns_, zone=ZONE), know)


def text(view: View, columns_: int = 80, rows: int | None = 24) -> str:
    return "\n".join(shown(view, columns_, rows).lines)


FULL = snapshot(
    health={"devices": [*MANY_DEVICES, PRINTER], "faults": MANY_FAULTS},
    readiness={"ready": False, "reasons": [*NOT_READY["reasons"] * 7]},
    operations=[
        operation("waiting", reason={"code": "SALE_RUNNING", "text": "a sale is running"}),
        operation("running", name="update", step=1, steps=3, progress=40),
        *[operation("waiting", command_id=f"c{n}") for n in range(5)],
    ],
)


def test_80_by_24_holds_everything_that_matters() -> None:
    said = text(View(FULL, NOW))
    assert banner.big(banner.NOT_READY, BAD, Style(width=80))[0].rstrip() in said
    for wanted in (
        "T-0001 at S-01",
        "pos-agent 0.1.0, up 5 min 3 s",
        "10:05:00",  # the time, in the reader's zone
        "NOT READY to sell",
        "- HW-PRN-001  the printer does not answer (since 11-21 10:00)",
        "and 4 more reasons: posctl ready",
        "Journal  412 entries, last sequence 412",
        "Uplink   connected since 2026-11-21 10:00:00",
        "Orders 7 [=====       ] update running, step 1 of 3, 40 %",
        "ping waiting (SALE_RUNNING: a sale is running)",
        "✗ printer-0        failed    11-21 10:00 power online  paper end",
        "✓ 9 ok: memory, storage",
        "Faults   8   ↑ ↓  lines 1 to",
        "q quit  p pause  r refresh",
    ):
        assert wanted in said, said


def test_ready_is_said_in_letters_that_can_be_read_from_two_metres() -> None:
    lines = shown(View(snapshot(), NOW)).lines
    drawn = [line.strip() for line in lines[1 : 1 + banner.HEIGHT]]
    assert all("#" in line for line in drawn)
    assert max(map(columns, drawn)) > 50
    assert lines[1 + banner.HEIGHT].strip() == "READY to sell"


@pytest.mark.parametrize("word", banner.WORDS)
def test_big_letters_are_of_equal_width_and_fit_where_they_are_used(word: str) -> None:
    for tall, width in ((1, 60), (1, 80), (2, 120)):
        lines = banner.big(word, GOOD, Style(width=width), tall)
        assert len(lines) == banner.HEIGHT * tall
        assert max(map(columns, lines)) <= width
        painted = banner.big(word, GOOD, Style(width=width, colour=True), tall)
        assert [PAINT.sub("", line) for line in painted] == lines


def test_a_large_screen_gets_larger_letters_and_every_device_a_line() -> None:
    lines = shown(View(FULL, NOW), 140, 70).lines
    assert sum("##" in line for line in lines) == 2 * banner.HEIGHT
    assert sum("✓" in line for line in lines) == len(MANY_DEVICES)
    assert not any("lines 1 to" in line for line in lines)  # all faults fit


def test_a_small_screen_keeps_readiness_reason_worst_device_and_fault() -> None:
    said = text(View(FULL, NOW), 40, 12)
    for wanted in ("NOT READY", "HW-PRN-001", "Uplink connected", "Orders 7", "✗ printer-0", "Faults", "q quit"):
        assert wanted in said, said


def test_a_locked_terminal_says_so() -> None:
    locked = snapshot(readiness={"ready": False, "reasons": [{"code": "TERMINAL_LOCKED", "text": "by order"}]})
    assert "LOCKED: no sale" in text(View(locked, NOW))


def test_without_an_agent_nothing_goes_on_saying_ready() -> None:
    lost = Lost("nobody listens at /run/x", "systemctl status pos-agent", NOW - timedelta(seconds=72))
    for size in ((80, 24), (40, 12), (80, None)):
        said = text(View(snapshot(), NOW, lost), *size)
        assert "NO AGENT" in said
        assert "READY" not in said
        assert "agent not reached since 10:03:48" in said
        assert "nobody listens at /run/x" in said
    assert "as last known at 10:05:00" in text(View(snapshot(), NOW, lost))
    painted = "\n".join(shown(View(snapshot(), NOW, lost), colour=True).lines)
    assert "\x1b[32m" not in painted  # no green of the past


def test_a_state_is_told_by_word_and_mark_and_not_by_colour_alone() -> None:
    states = {"ok": "✓", "degraded": "!", "failed": "✗", "unknown": "?", "melted": "?"}
    devices = [{**MEMORY, "device": f"d-{state}", "state": state} for state in states]
    said = text(View(snapshot(health={"devices": devices, "faults": []}), NOW), 80, 40)
    for state, mark in states.items():
        assert re.search(rf"{re.escape(mark)} d-{state} +{state}", said), said
    assert said.index("d-melted") < said.index("d-failed") < said.index("d-unknown") < said.index("d-degraded")


def test_scrolling_reaches_the_last_line_of_the_last_fault() -> None:
    first = shown(View(FULL, NOW))
    assert first.furthest > 0
    last = shown(View(FULL, NOW, scroll=first.furthest)).lines
    further = shown(View(FULL, NOW, scroll=first.furthest + 99)).lines
    assert further == last
    everything = shown(View(FULL, NOW), rows=None).lines
    assert last[-2] == everything[-1]  # above the keys


def test_the_most_severe_fault_is_seen_first_with_what_to_do() -> None:
    lines = shown(View(FULL, NOW), 100, 50).lines
    codes = [line.split()[1] for line in lines if line.startswith("  HW-PRN")]
    assert codes == sorted(codes)
    assert any("→ what to do about HW-PRN-004" in line for line in lines)


def test_a_page_for_a_file_has_no_keys_and_ends_where_its_content_ends() -> None:
    lines = shown(View(FULL, NOW), 80, None).lines
    assert not any("q quit" in line for line in lines)
    assert lines[-1].strip()
    assert sum(line.startswith("  HW-PRN") for line in lines) == len(MANY_FAULTS)
    assert all(line == line.rstrip() for line in lines)


def test_pausing_is_shown() -> None:
    assert "PAUSED" in shown(View(FULL, NOW, paused=True)).lines[-1]


@settings(max_examples=150, deadline=None)
@given(st.tuples(st.integers(2, 200), st.integers(2, 70)), st.integers(0, 60), *[st.booleans()] * 3)
def test_a_frame_has_the_size_of_its_screen(
    size: tuple[int, int], scroll: int, colour: bool, lost: bool, empty: bool
) -> None:
    wide, rows = size
    devices = [{**PRINTER, "device": "打印机" * 9, "detail": "纸" * 70, "state": "failed"}] * 3
    full = FULL if not empty else snapshot(health={"devices": devices, "faults": []})
    view = View(full, NOW, Lost("gone", "look", NOW) if lost else None, scroll=scroll)
    lines = shown(view, wide, rows, colour=colour).lines
    assert len(lines) == rows
    assert max(columns(PAINT.sub("", line)) for line in lines) <= wide
    assert all(line.count("\x1b[0m") >= bool(PAINT.search(line)) for line in lines)  # no colour runs on


def test_a_terminal_with_nothing_to_tell_is_shown_too() -> None:
    bare = snapshot(
        info={"version": "0.1.0", "terminal": {"site": "s", "terminal": "t"}, "mode": "development"},
        health={"devices": [], "faults": []},
        readiness={"ready": False},
    )
    said = text(View(bare, NOW))
    for wanted in ("development mode", "none configured", "Faults   none", "Orders   none open", "not configured"):
        assert wanted in said, said
    assert "gave no reason" in said


def test_what_waits_for_the_broker_is_counted() -> None:
    info = {**INFO, "uplink": {**INFO["uplink"], "unsent": 1234}}
    assert "412 entries, last sequence 412, 1,234 messages to send" in text(View(snapshot(info=info), NOW))


def test_a_view_is_the_same_for_the_same_moment() -> None:
    view = View(FULL, NOW)
    assert shown(view) == shown(replace(view))
