"""Telling processes apart, and the service a process runs in: against this machine's procfs and a folder of our own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.runtime.process_identity import Process, began, is_alive, service_in, unit_of


def test_a_process_is_alive_until_it_ends_and_another_with_its_pid_is_not_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        process = Process(os.getuid(), child.pid, began(child.pid))
        assert process.began is not None
        assert is_alive(process)
        assert not is_alive(Process(os.getuid(), child.pid, process.began + 1))
    finally:
        child.communicate(b"\n")
    assert began(child.pid) is None
    assert not is_alive(process)


def test_a_name_full_of_parentheses_does_not_shift_the_fields(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    fields = ["S", *map(str, range(4, 53))]
    (tmp_path / "7" / "stat").write_text(f"7 (a) b) (c) {' '.join(fields)}\n")
    assert began(7, tmp_path) == 22


@pytest.mark.parametrize("content", [b"", b"7 (x) S 1 2", b"7 (x) " + b"x " * 60, b"\xff"])
def test_what_cannot_be_read_is_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_bytes(content)
    assert began(7, tmp_path) is None
    assert began(8, tmp_path) is None


@pytest.mark.parametrize(
    ("lines", "unit"),
    [
        (["0::/system.slice/payment.service"], "payment.service"),
        (["0::/system.slice/payment.service/worker"], "payment.service"),
        (["0::/system.slice/system-shop.slice/shop@till1.service"], "shop@till1.service"),
        (["0::/user.slice/user-1000.slice/session-2.scope"], None),
        (["0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service"], "user@1000.service"),
        (["0::/system.slice/_cgroup.service"], "cgroup.service"),
        (["12:pids:/", "1:name=systemd:/system.slice/payment.service", "0::/"], "payment.service"),
        (["4:memory:/system.slice/payment.service"], None),
        (["0::/"], None),
        (["0::/../../payment.service"], None),
        ([], None),
        (["rubbish"], None),
    ],
)
def test_the_first_part_that_is_no_slice_names_the_service(lines: list[str], unit: str | None) -> None:
    assert service_in(lines) == unit


def test_a_process_that_is_gone_has_no_unit(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text("7 (x) " + " ".join(["S", *map(str, range(4, 53))]))
    (tmp_path / "7" / "cgroup").write_text("0::/system.slice/payment.service\n")
    assert unit_of(Process(1000, 7, 22), tmp_path) == "payment.service"
    assert unit_of(Process(1000, 7, 23), tmp_path) is None
    assert unit_of(Process(1000, 8, 22), tmp_path) is None
