"""`posctl top` on a real terminal: a tmux pane, keys typed, sizes changed, signals sent, screens read back."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.agent_process import AgentProcess
from tests.kit.control_stub import ControlStub, Silence
from tests.kit.tmux import Tmux
from tests.units.ctl.answers_for_tests import FAULT, HEALTH, INFO, MEMORY, NOT_READY, PRINTER, READY, operation

TOP = [sys.executable, "-m", "agent.ctl", "top", "--socket"]
FAULTS = [{**FAULT, "code": f"HW-PRN-00{n}"} for n in range(1, 9)]


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[ControlStub]:
    with ControlStub(tmp_path / "control.sock") as server:
        server.answers = {
            "agent.info": INFO,
            "health.get": {**HEALTH, "devices": [MEMORY, PRINTER], "faults": FAULTS},
            "readiness.get": READY,
            "command.list": {"items": [operation("running", progress=50)], "next_cursor": None},
        }
        yield server


def top(stub: ControlStub, **options: Any) -> Tmux:
    return Tmux(stub.path.parent, [*TOP, str(stub.path)], **options)


def test_80_by_24_shows_the_terminal_and_q_leaves_it(stub: ControlStub) -> None:
    with top(stub) as terminal:
        shown = terminal.wait_for("READY to sell", "✗ printer-0", "HW-PRN-001", "q quit", "[======      ] ping running")
        assert len(shown.rstrip("\n").splitlines()) == 24
        assert terminal.tells("alternate_on") == "1"
        assert terminal.tells("cursor_flag") == "0"
        assert "\x1b[32m\x1b[42m" in terminal.screen(painted=True).replace(";", "m\x1b[")
        terminal.keys("q")
        terminal.wait_for("ended with 0")
        assert terminal.tells("alternate_on") == "0"
        assert terminal.tells("cursor_flag") == "1"


def test_keys_scroll_the_faults_pause_and_ask_again(stub: ControlStub) -> None:
    with top(stub) as terminal:
        terminal.wait_for("lines 1 to ", "HW-PRN-001")
        terminal.keys("Down")
        terminal.wait_for("lines 2 to ")
        terminal.keys("Space")
        terminal.wait_gone("lines 2 to ")
        terminal.keys("End")
        terminal.wait_for("HW-PRN-008")
        terminal.keys("Home")
        terminal.wait_for("lines 1 to ")
        terminal.keys("p")
        terminal.wait_for("PAUSED")
        stub.answers["readiness.get"] = NOT_READY
        asked = len(stub.asked("readiness.get"))
        while len(stub.asked("readiness.get")) < asked + 2:
            terminal.screen()
        assert "NOT READY" not in terminal.screen()
        terminal.keys("r")
        terminal.wait_for("NOT READY to sell", "PAUSED")
        terminal.keys("p")
        terminal.wait_gone("PAUSED")


def test_it_follows_the_size_of_its_window(stub: ControlStub) -> None:
    with top(stub) as terminal:
        terminal.wait_for("READY to sell")
        terminal.resize(40, 12)
        small = terminal.wait_for("Uplink connected  Journal 412", "q quit")
        assert len(small.rstrip("\n").splitlines()) == 12
        assert "READY" in small
        assert "✗ printer-0" in small
        terminal.resize(140, 60)
        large = terminal.wait(lambda shown: "################" in shown and "HW-PRN-008" in shown, "large letters")
        assert max(map(len, large.splitlines())) <= 140
        terminal.resize(10, 3)
        terminal.wait(lambda shown: "READY" in shown and len(shown.rstrip("\n").splitlines()) == 3, "three rows")
        terminal.resize(80, 24)
        terminal.wait_for("READY to sell", "✗ printer-0")


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT"])
def test_a_signal_that_ends_it_gives_the_terminal_back(name: str, stub: ControlStub) -> None:
    with Tmux(stub.path.parent, ["bash", "--norc", "-i"], env={"PS1": "here> "}) as terminal:
        terminal.wait_for("here>")
        terminal.line(f"{' '.join(TOP)} {stub.path} & top=$!; fg >/dev/null; echo ended with $?; stty -a")
        terminal.wait_for("READY to sell")
        if name == "INT":
            terminal.keys("C-c")
        elif name == "QUIT":
            terminal.keys("C-\\")
        else:
            os.kill(_innermost(int(terminal.tells("pane_pid"))), signal.Signals[f"SIG{name}"])
        shown = terminal.wait_for("ended with 0", " icanon", " echo ")
        assert "Traceback" not in shown
        assert terminal.tells("alternate_on") == "0"
        assert terminal.tells("cursor_flag") == "1"


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(stub: ControlStub) -> None:
    with Tmux(stub.path.parent, ["bash", "--norc", "-i"], env={"PS1": "here> "}) as terminal:
        terminal.wait_for("here>")
        terminal.line(f"{' '.join(TOP)} {stub.path}; echo ended with $?")
        for _ in range(2):
            terminal.wait_for("READY to sell")
            terminal.keys("C-z")
            terminal.wait_for("Stopped")
            assert terminal.tells("alternate_on") == "0"
            terminal.line("clear; stty -a")
            terminal.wait_for(" icanon", " echo ")
            terminal.line("fg")
            terminal.wait_for("READY to sell", "q quit")
            assert terminal.tells("alternate_on") == "1"
        process = _innermost(int(terminal.tells("pane_pid")))
        os.kill(process, signal.SIGSTOP)  # which no program can see coming
        terminal.wait_for("Stopped")
        terminal.line("fg")
        terminal.wait_for("READY to sell", "q quit")
        terminal.keys("q")
        terminal.wait_told("alternate_on", "0")


def _innermost(pid: int) -> int:
    """The process at the end of a line of only children: what runs in the shell in the pane."""
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        (child,) = children
        pid = int(child)
    return pid


def test_nothing_flickers_and_what_stays_is_not_written_again(stub: ControlStub, tmp_path: Path) -> None:
    with top(stub) as terminal:
        terminal.wait_for("READY to sell")
        written = tmp_path / "written"
        terminal.tmux("pipe-pane", f"cat > {written}")
        asked = len(stub.asked("health.get"))
        while len(stub.asked("health.get")) < asked + 3:
            terminal.screen()
        content = written.read_bytes()
        assert b"\x1b[2J" not in content  # never cleared
        assert b"printer-0" not in content  # only the clock moves
        assert len(content) < 1000
        stub.answers["readiness.get"] = NOT_READY
        terminal.wait_for("NOT READY to sell")
        assert b"\x1b[2J" not in written.read_bytes()


def test_texts_of_the_agent_steer_nothing(stub: ControlStub) -> None:
    evil = "\x1b]2;owned\x07\x1b[2J\x1b[?1049l\x9b2J\u202eevil"
    stub.answers["agent.info"] = {**INFO, "version": evil, "terminal": {"site": evil, "terminal": evil}}
    stub.answers["health.get"] = {
        "devices": [{**PRINTER, "detail": evil, "device": evil}],
        "faults": [{**FAULT, "detail": evil}],
    }
    stub.answers["readiness.get"] = {"ready": False, "reasons": [{"code": evil, "text": evil}]}
    stub.answers["command.list"] = {"items": [operation("running", name=evil, step=evil)], "next_cursor": None}
    with top(stub, columns=120, rows=40) as terminal:
        title = terminal.tells("pane_title")
        terminal.wait_for("NOT READY to sell", "evil", "q quit")
        assert terminal.tells("alternate_on") == "1"
        assert terminal.tells("pane_title") == title
        terminal.keys("q")
        terminal.wait_for("ended with 0")


def test_a_terminal_without_utf_8_or_colour_is_served(stub: ControlStub) -> None:
    with top(stub, env={"LC_ALL": "C", "NO_COLOR": "1"}) as terminal:
        shown = terminal.wait_for("READY to sell", "x printer-0", "+ memory", "##")
        assert shown.isascii()
        assert "\x1b[" not in terminal.screen(painted=True).replace("\x1b[39m", "").replace("\x1b[49m", "")


def test_a_dumb_terminal_gets_one_page_of_text(stub: ControlStub) -> None:
    with top(stub, env={"TERM": "dumb"}, rows=60) as terminal:
        shown = terminal.wait_for("READY to sell", "HW-PRN-008")
        terminal.wait_for("ended with 0")
        assert terminal.tells("alternate_on") == "0"
        assert "q quit" not in shown


def test_keys_are_taken_while_the_agent_says_nothing(stub: ControlStub) -> None:
    with Tmux(stub.path.parent, [*TOP, str(stub.path), "--timeout", "1"]) as terminal:
        terminal.wait_for("READY to sell")
        stub.answers["health.get"] = Silence()
        terminal.keys("Down")
        terminal.wait_for("lines 2 to ")
        shown = terminal.wait_for("NO AGENT", "agent not reached since", "no answer within 1 s")
        assert "READY" not in shown
        terminal.keys("q")
        terminal.wait_for("ended with 0")


def test_a_real_agent_goes_away_and_comes_back(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path)
    try:
        agent.start()
        with Tmux(tmp_path, [*TOP, str(agent.run / "control.sock")]) as terminal:
            terminal.wait_for("T-0001 at shop-1", "development mode", "to sell", "Journal  0 entries", "memory")
            agent.kill()
            lost = terminal.wait_for("NO AGENT", "agent not reached since", "as last known at")
            assert "to sell" not in lost
            agent.start()
            terminal.wait_for("to sell", "memory")
            assert agent.stop() == 0
            terminal.wait_for("NO AGENT")
            agent.start()
            terminal.wait_gone("NO AGENT")
            terminal.keys("q")
            terminal.wait_for("ended with 0")
    finally:
        agent.close()


def test_without_an_agent_no_screen_is_opened(tmp_path: Path) -> None:
    with Tmux(tmp_path, [*TOP, str(tmp_path / "none.sock")]) as terminal:
        terminal.wait_for("there is no socket at")
        terminal.wait_for("ended with 3")
        assert terminal.tells("alternate_on") == "0"
