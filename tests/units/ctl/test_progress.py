"""Long work shows one moving line on a terminal, and plain lines elsewhere."""

from __future__ import annotations

import sys

import pytest

from agent.ctl.__main__ import main
from tests.kit.control_stub import ControlStub
from tests.kit.tmux import Tmux
from tests.units.ctl.answers_for_tests import PRINTER, operation

EVIL = {"code": "SALE_RUNNING", "text": "a sale is running\x1b[2J\x1b]2;owned\x07"}


def test_a_line_moves_while_it_waits_and_is_gone_at_the_end(stub: ControlStub) -> None:
    stub.answers["health.check"] = operation("waiting", name="check_device", reason=EVIL)
    stub.answers["command.get"] = stub.answers["health.check"]
    command = [sys.executable, "-m", "agent.ctl", "check", "printer-0", "--external", "--socket", str(stub.path)]
    with Tmux(stub.path.parent, command) as terminal:
        terminal.wait_for("\n2 s  check_device waiting (SALE_RUNNING: a sale is running")
        stub.answers["command.get"] = operation("running", 2, name="check_device", step=1, steps=2, progress=40)
        terminal.wait_for(" s  check_device running, step 1 of 2, 40 %")
        stub.answers["command.get"] = operation("succeeded", 3, result={**PRINTER, "state": "ok"})
        shown = terminal.wait_for("✓ printer-0 is ok", "ended with 0")
        assert terminal.tells("pane_title") != "owned"
        assert not [line for line in shown.splitlines() if " s  check_device" in line]  # the moving line is gone


def test_elsewhere_every_new_state_is_one_line(stub: ControlStub, capsys: pytest.CaptureFixture[str]) -> None:
    states = iter([operation("running", 2)] * 3 + [operation("succeeded", 3, result={**PRINTER, "state": "ok"})])
    stub.answers["health.check"] = operation("accepted")
    stub.answers["command.get"] = lambda _params: next(states)
    assert main(["check", "printer-0"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("running") == 1
    assert "\r" not in captured.out + captured.err
