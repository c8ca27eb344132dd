"""A technician at a real agent: a printer tested, its fault seen live and mended, an order cancelled."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.ctl.__main__ import main
from tests.kit.agent_process import AgentProcess, call
from tests.kit.emulator_process import EmulatedPrinter
from tests.kit.tmux import Tmux

MODEL = """
schema = 1
title = "A counter with a printer"
[devices.printer-0]
category = "pos_printer"
driver = "escpos"
sensors = ["near_end", "paper_end", "cover"]
answers = true
required = false
"""


class Counter:
    """An agent with a printer, and posctl beside it."""

    def __init__(self, folder: Path, printer: EmulatedPrinter) -> None:
        self.folder, self.printer = folder, printer
        (folder / "etc" / "models").mkdir(parents=True)
        (folder / "etc" / "models" / "counter.toml").write_text(MODEL)
        changes = {
            "terminal": {"model": "counter"},
            "health": {"interval_s": 1.0},
            "devices": {"printer-0": {"port": str(printer.port)}},
        }
        self.agent = AgentProcess(folder, changes)
        self.socket = str(self.agent.run / "control.sock")

    def posctl(self, *words: str) -> int:
        return main([*words, "--socket", self.socket])

    def top(self, **options: Any) -> Tmux:
        return Tmux(self.folder, [sys.executable, "-m", "agent.ctl", "top", "--socket", self.socket], **options)

    def until_state(self, state: str) -> None:
        deadline_s = time.monotonic() + 30
        while True:
            devices = call(Path(self.socket), "health.get")["result"]["devices"]
            if {one["device"]: one["state"] for one in devices}.get("printer-0") == state:
                return
            assert time.monotonic() < deadline_s, devices
            time.sleep(0.05)


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    folder = tmp_path_factory.mktemp("counter")
    with EmulatedPrinter(folder) as printer:
        counter = Counter(folder, printer)
        with counter.agent:
            counter.until_state("ok")
            yield counter


def test_a_printer_is_tested_found_empty_mended_and_tested_again(
    counter: Counter, capsys: pytest.CaptureFixture[str]
) -> None:
    assert counter.posctl("check", "printer-0") == 0
    assert "✓ printer-0 is ok" in capsys.readouterr().out
    with counter.top() as terminal:
        terminal.wait_for("to sell", "✓ printer-0")
        counter.printer.control.set(paper_end=True)
        terminal.wait_for("✗ printer-0", "HW-PRN-002", "→ Put in a new roll")
        assert counter.posctl("check", "printer-0") == 1
        out = capsys.readouterr().out
        assert "✗ printer-0 is failed" in out
        assert "→ Put in a new roll" in out
        assert counter.posctl("health", "printer-0") == 0
        assert "HW-PRN-002" in capsys.readouterr().out
        counter.printer.control.set(paper_end=False)
        terminal.wait_for("✓ printer-0")
        terminal.wait_gone("HW-PRN-002")
    assert counter.posctl("check", "printer-0", "--external", "--json") == 0
    state = json.loads(capsys.readouterr().out)
    assert (state["name"], state["state"], state["result"]["state"]) == ("check_device", "succeeded", "ok")


def test_what_happened_to_a_device_is_told(counter: Counter, capsys: pytest.CaptureFixture[str]) -> None:
    counter.printer.control.set(cover_open=True)
    counter.until_state("failed")
    counter.printer.control.set(cover_open=False)
    counter.until_state("ok")
    capsys.readouterr()
    assert counter.posctl("health", "printer-0", "--history") == 0
    out = capsys.readouterr().out
    assert "✗ failed" in out
    assert "+ HW-PRN-004" in out
    assert counter.posctl("health", "--history", "--limit", "2", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["items"]) == 2


@pytest.mark.parametrize("words", [["check", "nobody"], ["check", "nobody", "--external"]])
def test_a_device_that_is_not_there_is_refused(words: list[str], counter: Counter) -> None:
    assert counter.posctl(*words) == 4


def test_an_order_that_waits_for_a_sale_is_seen_and_cancelled(
    counter: Counter, capsys: pytest.CaptureFixture[str]
) -> None:
    payment = counter.agent.run / "payment.sock"
    lease = call(payment, "sale.begin", {"lease_s": 120, "purpose": "sale"})["result"]["lease_id"]
    with counter.top() as terminal:
        terminal.wait_for("Orders   none open")
        order = ["command", "run", "check_device", "device=printer-0", "level=external", "--json"]
        assert counter.posctl(*order) == 0
        command_id = json.loads(capsys.readouterr().out)["command_id"]
        terminal.wait_for("Orders 1 check_device waiting (SALE_RUNNING")
        assert counter.posctl("check", "printer-0", "--external", "--wait", "0.5") == 1
        assert "the order goes on" in capsys.readouterr().err
        terminal.wait_for("Orders 2")
        assert counter.posctl("command", "cancel", command_id) == 0
        assert "cancelled" in capsys.readouterr().out
        assert counter.posctl("command", "cancel", command_id) == 0  # it is what was wanted
        terminal.wait_for("Orders 1")
        assert "result" in call(payment, "sale.end", {"lease_id": lease})
        terminal.wait_for("Orders   none open")
    assert counter.posctl("command", "cancel", "no-such-order") == 1


def test_what_a_script_reads_is_whole(counter: Counter, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert counter.posctl("top", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"at", "info", "health", "readiness", "operations"}
    assert shown["info"]["uplink"]["unsent"] >= 0
    assert counter.posctl("top") == 0
    assert "to sell" in capsys.readouterr().out
