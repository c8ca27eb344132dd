"""The keypad reader's unit: it runs, as its own user, without network or anything to write to but its report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab.release import ROOT
from tests.lab.terminal import Terminal

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

UNIT = "pos-agent-keypad@keypad-0.service"
REPORT = Path("/run/pos-agent-keypad/keypad-0/report.json")


@pytest.fixture(scope="module", autouse=True)
def reader(terminal: Terminal) -> None:
    """Installed and started, with a pipe in the place of the keypad that a container has not."""
    users = (ROOT / "systemd/pos-agent-keypad.sysusers.conf").read_text()
    terminal.run("tee", "/usr/lib/sysusers.d/pos-agent-keypad.conf", stdin=users)
    terminal.run("systemd-sysusers")
    terminal.run("mkdir", "-p", "/dev/pos-agent")
    terminal.run("mkfifo", "/dev/pos-agent/keypad-0")
    terminal.run("chown", "pos-agent-keypad", "/dev/pos-agent/keypad-0")
    terminal.run("systemctl", "start", UNIT)


def test_it_reads_the_keypad_and_reports(terminal: Terminal) -> None:
    def readable() -> bool:
        said = terminal.run("cat", str(REPORT), check=False)
        return bool(said) and json.loads(said)["readable"] is True

    terminal.wait(readable, 60, "a report of a keypad that can be read")
    assert terminal.run("stat", "-c", "%U %a", str(REPORT)).split() == ["pos-agent-keypad", "640"]


def test_it_is_confined(terminal: Terminal) -> None:
    pid = terminal.show(UNIT, "MainPID")
    status = dict(
        line.split(":\t", 1) for line in terminal.run("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line
    )
    assert set(status["Uid"].split()) == {terminal.run("id", "-u", "pos-agent-keypad").strip()}
    assert (int(status["CapBnd"], 16), status["NoNewPrivs"], status["Seccomp"]) == (0, "1", "2")
    links = terminal.run("nsenter", "-t", pid, "--net", "--", "cat", "/proc/net/dev")
    assert [line.split(":")[0].strip() for line in links.splitlines() if ":" in line] == ["lo"]
    terminal.run("systemd-analyze", "security", "--no-pager", "--threshold=10", UNIT)
