"""Long work shows one moving line on a terminal, and plain lines elsewhere."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from agent.ctl.__main__ import main
from agent.ctl.progress import Progress, how_far
from tests.kit.control_stub import ControlStub, Silence
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


def test_a_verification_tells_for_how_long_it_works(stub: ControlStub) -> None:
    over = threading.Event()

    def verify(_params: object) -> object:
        over.wait(30)
        return {"intact": False, "upto_sequence": 6, "missing": [7, 8, 9, 20]}

    stub.answers["journal.verify"] = verify
    command = [sys.executable, "-m", "agent.ctl", "journal", "verify", "--socket", str(stub.path)]
    with Tmux(stub.path.parent, command) as terminal:
        terminal.wait_for("1 s  reading 412 entries and computing the chain")
        over.set()
        shown = terminal.wait_for("NOT INTACT  the chain holds only up to sequence 6", "ended with 1")
    assert "missing: 7 to 9, 20" in shown
    assert "pos-agent restore --fill --from FOLDER" in shown
    assert "reading 412" not in shown


def test_an_answer_that_lets_wait_for_itself_still_has_its_deadline(
    stub: ControlStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.ctl.verbs.journal._VERIFY_TIMEOUT_S", 0.6)
    stub.answers["journal.verify"] = Silence()
    assert main(["journal", "verify", "--timeout", "0.5"]) == 3


class _Out(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("terminal", "term", "written"),
    [
        (True, "xterm", "\r\x1b[Kat 0\r\x1b[Kat 1\r\x1b[Kat 4\r\x1b[Kat 6\r\x1b[Kat 12\r\x1b[K"),
        (True, "dumb", "at 6\nat 12\n"),
        (False, "xterm", "at 6\nat 12\n"),
    ],
)
def test_a_line_moves_on_a_terminal_and_comes_now_and_then_elsewhere(terminal: bool, term: str, written: str) -> None:
    out, clock = _Out(terminal=terminal), [100.0]
    progress = Progress(out, environ={"TERM": term}.get, monotonic=lambda: clock[0])
    for at_s in (0, 0.05, 1, 4, 6, 12):
        clock[0] = 100.0 + at_s
        progress.show(f"at {at_s}")
    progress.clear()
    progress.clear()
    assert out.getvalue() == written


def test_where_nobody_wants_lines_there_are_none_and_nothing_steers_the_terminal() -> None:
    clock = [0.0]
    quiet = _Out(terminal=False)
    progress = Progress(quiet, plain_lines=False, monotonic=lambda: clock[0])
    clock[0] = 99.0
    progress.show("x")
    assert quiet.getvalue() == ""
    loud = _Out(terminal=True)
    Progress(loud, environ={"TERM": "xterm"}.get).show("a\x1b[2Jb\nc")
    assert loud.getvalue() == "\r\x1b[Ka\ufffd[2Jb c"


@pytest.mark.parametrize(
    ("done", "total", "elapsed_s", "said"),
    [
        (12_300, 50_000, 4.0, "12,300 of 50,000 entries, 24 %, about 12 s left"),
        (12_300, 50_000, 1.0, "12,300 of 50,000 entries, 24 %"),
        (50_000, 50_000, 9.0, "50,000 of 50,000 entries, 100 %"),
        (50_001, 50_000, 9.0, "50,000 of 50,000 entries, 100 %"),
        (0, 50_000, 9.0, "0 of 50,000 entries, 0 %"),
        (7, 0, 61.0, "7 entries, 1 min 1 s"),
    ],
)
def test_how_far_it_is_is_told_with_an_estimate_once_there_is_something_to_go_by(
    done: int, total: int, elapsed_s: float, said: str
) -> None:
    assert how_far(done, total, elapsed_s, "entries") == said
