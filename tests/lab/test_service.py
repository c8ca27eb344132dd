"""The agent as systemd's unit: confined, watched, its sockets for the right people, its records kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.release import ROOT
from tests.lab.terminal import CommandFailed, Terminal

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

UNIT = "pos-agent.service"


def record(number: int) -> dict[str, Any]:
    """An approved sale."""
    return {
        "transaction_id": f"0192f6d0-7c1e-7000-8000-{number:012d}",
        "state": "approved",
        "type": "sale",
        "provider": "acquirer-a",
        "mid": "104110058120001",
        "tid": "00010001",
        "amount_minor": 1000 + number,
        "currency": "156",
        "stan": f"{number:06d}",
        "batch_no": "000001",
        "local_at": "2026-11-21T10:00:00+08:00",
    }


def pay(terminal: Terminal, number: int) -> dict[str, Any]:
    """Hand a record in as the payment application does."""
    answer = terminal.call("transaction.record", record(number), socket="payment", user="payer", groups=["pos-payment"])
    return dict(answer["result"])


def records(terminal: Terminal) -> int:
    """How many the agent has."""
    return int(terminal.call("journal.verify", user="owner", groups=["pos-support"])["result"]["upto_sequence"])


def main_pid(terminal: Terminal) -> str:
    """Of the agent now, once it is active."""
    terminal.wait(lambda: terminal.show(UNIT, "ActiveState") == "active", what="the agent's start")
    return terminal.show(UNIT, "MainPID")


def test_the_unit_gets_ready_and_nothing_at_boot_fails(terminal: Terminal) -> None:
    assert terminal.show(UNIT, "SubState") == "running"
    assert terminal.run("systemctl", "--failed", "--plain", "--no-legend").strip() == ""


def test_the_process_is_an_unprivileged_user_without_capabilities(terminal: Terminal) -> None:
    status = terminal.run("cat", f"/proc/{main_pid(terminal)}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    agent_uid = terminal.run("id", "-u", "pos-agent").strip()
    assert set(fields["Uid"].split()) == {agent_uid}
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


@pytest.mark.parametrize("folder", ["/etc/pos-agent", "/usr/lib", "/opt/pos-agent/current", "/root", "/sys/fs/cgroup"])
def test_not_even_root_could_write_there_from_within_its_sandbox(terminal: Terminal, folder: str) -> None:
    inside = ("nsenter", "-t", main_pid(terminal), "--mount", "--", "touch", f"{folder}/written")
    with pytest.raises(CommandFailed, match=r"Read-only file system|Permission denied|No such file"):
        terminal.run(*inside)
    terminal.run("nsenter", "-t", main_pid(terminal), "--mount", "--", "test", "-w", "/var/lib/pos-agent")


def test_systemd_finds_nothing_wrong_in_the_shipped_units(terminal: Terminal) -> None:
    units = [file.name.replace("@.", "@keypad-0.") for file in (ROOT / "systemd").iterdir() if file.is_file()]
    units = [unit for unit in units if unit.endswith((".service", ".socket", ".path"))]
    assert len(units) >= 6
    said = terminal.run("sh", "-c", f"systemd-analyze verify --man=no {' '.join(units)} 2>&1")
    assert said == ""


@pytest.mark.parametrize(("unit", "worst"), [("pos-agent.service", "2.5"), ("pos-agent-machine.service", "1.5")])
def test_systemd_itself_calls_the_units_well_confined(terminal: Terminal, unit: str, worst: str) -> None:
    tenths = str(round(float(worst) * 10))
    terminal.run("systemd-analyze", "security", "--no-pager", f"--threshold={tenths}", unit)


def test_the_sockets_belong_to_the_right_groups(terminal: Terminal) -> None:
    said = terminal.run("stat", "-c", "%n %U %G %a", "/run/pos-agent/payment.sock", "/run/pos-agent/control.sock")
    assert said.splitlines() == [
        "/run/pos-agent/payment.sock pos-agent pos-payment 660",
        "/run/pos-agent/control.sock pos-agent pos-support 660",
    ]
    assert terminal.run("stat", "-c", "%U %a", "/var/lib/pos-agent").split() == ["pos-agent", "700"]


def test_a_payment_application_is_acknowledged_and_a_stranger_does_not_get_in(terminal: Terminal) -> None:
    before = records(terminal)
    assert pay(terminal, 1)["duplicate"] is False
    assert records(terminal) == before + 1
    for socket in ("payment", "control"):
        with pytest.raises(CommandFailed, match="PermissionError"):
            terminal.call("terminal.state", socket=socket, user="stranger")
    with pytest.raises(CommandFailed, match="PermissionError"):
        terminal.call("transaction.record", record(2), socket="payment", user="technician", groups=["pos-support"])


def test_a_hung_agent_is_ended_by_the_watchdog_and_comes_back_with_every_record(terminal: Terminal) -> None:
    terminal.drop_in(UNIT, "WatchdogSec=4")  # the shipped minute is long to wait for
    terminal.run("systemctl", "restart", UNIT)
    pay(terminal, 3)
    kept, pid = records(terminal), main_pid(terminal)
    terminal.run("kill", "-STOP", pid)
    terminal.wait(lambda: terminal.show(UNIT, "MainPID") not in {pid, "0"}, 60, "another process")
    main_pid(terminal)
    assert records(terminal) == kept
    assert "Watchdog timeout" in terminal.journal()
    assert int(terminal.show(UNIT, "NRestarts")) >= 1
    terminal.drop_in(UNIT, "WatchdogSec=60")
    terminal.run("systemctl", "restart", UNIT)


def test_a_killed_agent_comes_back_with_every_record(terminal: Terminal) -> None:
    pay(terminal, 4)
    kept, pid = records(terminal), main_pid(terminal)
    terminal.run("kill", "-KILL", pid)
    terminal.wait(lambda: terminal.show(UNIT, "MainPID") not in {pid, "0"}, 60, "another process")
    main_pid(terminal)
    assert records(terminal) == kept


def test_after_a_reboot_the_agent_is_up_by_itself_with_every_record(terminal: Terminal) -> None:
    pay(terminal, 5)
    kept = records(terminal)
    terminal.reboot()
    main_pid(terminal)
    assert records(terminal) == kept
    intact = terminal.call("journal.verify", user="owner", groups=["pos-support"])["result"]["intact"]
    assert intact is True


def test_its_memory_stays_below_the_units_limit(terminal: Terminal) -> None:
    limit, used = int(terminal.show(UNIT, "MemoryMax")), int(terminal.show(UNIT, "MemoryCurrent"))
    assert used < limit / 2


def test_sockets_of_systemds_own_are_taken_by_name_and_outlive_the_agent(terminal: Terminal) -> None:
    sockets = ("pos-agent-payment.socket", "pos-agent-control.socket")
    terminal.run("systemctl", "stop", UNIT)
    terminal.run("systemctl", "enable", "--now", *sockets)
    try:
        test_the_sockets_belong_to_the_right_groups(terminal)
        kept = records(terminal)  # the connection starts the agent
        opened = [json.loads(line) for line in terminal.journal().splitlines() if '"socket.opened"' in line]
        assert [one["inherited"] for one in opened[-2:]] == [True, True]
        inodes = terminal.run("stat", "-c", "%i", "/run/pos-agent/payment.sock", "/run/pos-agent/control.sock")
        terminal.run("systemctl", "restart", UNIT)
        pay(terminal, 6)
        assert records(terminal) == kept + 1
        again = terminal.run("stat", "-c", "%i", "/run/pos-agent/payment.sock", "/run/pos-agent/control.sock")
        assert again == inodes
        with pytest.raises(CommandFailed, match="PermissionError"):
            terminal.call("terminal.state", socket="payment", user="stranger")
    finally:
        terminal.run("systemctl", "disable", "--now", *sockets)
        terminal.run("systemctl", "restart", UNIT)
    main_pid(terminal)
    test_the_sockets_belong_to_the_right_groups(terminal)
