"""The emulator as a program: what an integrator types, what a script reads, and what is left when it stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.emulators.control import ControlError, EmulatorControl
from drivers.emulators.pos_printer import BEHAVIOUR_NAMES, CONDITION_NAMES, run_emulator
from drivers.errors import DeviceGone, DeviceOffline
from tests.kit.printer_port import printer_at

LONG_S = 20.0
DEADLINE_S = 20.0


@dataclass
class Running:
    process: subprocess.Popen[str]
    port: Path
    control_path: Path
    first_line: str

    @property
    def control(self) -> EmulatorControl:
        return EmulatorControl(self.control_path)


def command_line(folder: Path, *more: str) -> list[str]:
    paths = ["--port", str(folder / "ttyPRN"), "--control", str(folder / "control")]
    return [sys.executable, "-m", "drivers.emulators", "printer", *paths, *more]


def start(folder: Path, *more: str) -> Running:
    process = subprocess.Popen(command_line(folder, *more), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return Running(process, folder / "ttyPRN", folder / "control", process.stdout.readline())


def stop(running: Running, by: signal.Signals = signal.SIGTERM) -> int:
    running.process.send_signal(by)
    code = running.process.wait(DEADLINE_S)
    assert running.process.stdout is not None
    running.process.stdout.close()
    return code


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Running]:
    running = start(tmp_path)
    yield running
    assert stop(running) == 0


def test_it_says_where_it_is_and_answers_a_plain_program(emulator: Running) -> None:
    assert str(emulator.port) in emulator.first_line
    descriptor = os.open(emulator.port, os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(descriptor, b"\x10\x04\x01")
        assert os.read(descriptor, 1) == b"\x12"
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_on_a_signal_and_leaves_nothing(tmp_path: Path, by: signal.Signals) -> None:
    running = start(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"ttyPRN", "control"}
    assert stop(running, by) == 0
    assert list(tmp_path.iterdir()) == []


def test_it_starts_in_the_given_state(tmp_path: Path) -> None:
    running = start(tmp_path, "--state", "paper_end,near_end, slow=0.25")
    state = running.control.get().state
    assert (state["paper_end"], state["near_end"], state["slow"], state["cover_open"]) == (True, True, 0.25, False)
    assert stop(running) == 0


async def test_state_changed_from_outside_is_what_the_driver_reads_and_the_counters_tell(emulator: Running) -> None:
    printer = printer_at(emulator.port)
    control = emulator.control
    await asyncio.to_thread(control.set, cover_open=True, near_end=True)
    status = await printer.read_status(LONG_S)
    assert (status.cover_open, status.near_end) == (True, True)
    await asyncio.to_thread(control.set, cover_open=False, near_end=False)
    await printer.print_test_slip(LONG_S)
    view = await asyncio.to_thread(control.get)
    assert (view.counters["slips"], view.counters["queries"], view.counters["dle_eot_3"]) == (1, 12, 3)
    assert view.last_slip[0] == "printer-0"
    assert view.port == str(emulator.port)
    await printer.close()


async def test_unplugging_and_plugging_gives_a_new_device_under_the_same_path(emulator: Running) -> None:
    printer = printer_at(emulator.port)
    await printer.read_status(LONG_S)
    await asyncio.to_thread(emulator.control.set, unplugged=True)
    assert not emulator.port.is_symlink()
    with pytest.raises(DeviceGone):
        await printer.read_status(LONG_S)
    await asyncio.to_thread(emulator.control.set, unplugged=False)
    assert emulator.port.exists()
    await printer.read_status(LONG_S)
    await printer.close()


async def test_a_stalled_printer_is_offline_and_nothing_of_the_stall_reaches_it_later(emulator: Running) -> None:
    printer = printer_at(emulator.port)
    await asyncio.to_thread(emulator.control.set, stalled=True)
    with pytest.raises(DeviceOffline):
        await printer.print_test_slip(0.3)
    await printer.close()
    view = await asyncio.to_thread(emulator.control.set, stalled=False)
    await printer.read_status(LONG_S)
    assert view.counters["slips"] == 0
    await printer.close()


def test_bytes_can_be_injected(emulator: Running) -> None:
    descriptor = os.open(emulator.port, os.O_RDWR | os.O_NOCTTY)
    try:
        emulator.control.send(b"\x12\xff")
        assert os.read(descriptor, 2) == b"\x12\xff"
    finally:
        os.close(descriptor)


def test_nobody_reading_does_not_stop_it(emulator: Running) -> None:
    for _time in range(200):
        emulator.control.send(b"\x12" * 1000)
    assert emulator.control.get().counters["lost_bytes"] > 0


@pytest.mark.parametrize(
    "request_line",
    [
        b"",
        b"rubbish",
        b"[]",
        b"{}",
        b'{"set": {"papr_end": true}}',
        b'{"set": {"paper_end": 1}}',
        b'{"set": {"slow": -1}}',
        b'{"set": {"slow": true}}',
        b'{"set": {"cover_open": true, "paper_end": "yes"}}',
        b'{"get": true, "more": 1}',
        b'{"send": "xy"}',
        b"\xff\xfe",
        b"[" * 30_000,
    ],
)
def test_a_request_that_makes_no_sense_is_refused_and_changes_nothing(emulator: Running, request_line: bytes) -> None:
    before = emulator.control.get()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE_S)
        connection.connect(str(emulator.control_path))
        connection.sendall(request_line + b'\n{"get": true}\n')
        with connection.makefile("rb") as lines:
            refused, then = json.loads(lines.readline()), json.loads(lines.readline())
    assert refused["ok"] is False
    assert refused["error"]
    assert (then["ok"], then["state"]) == (True, before.state)


def test_a_line_too_long_costs_its_own_connection_only(emulator: Running) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE_S)
        connection.connect(str(emulator.control_path))
        with pytest.raises(ConnectionError):
            connection.sendall(b"x" * 16_777_216)
    assert emulator.control.get().state["silent"] is False


def test_it_can_be_used_from_a_shell(emulator: Running) -> None:
    shell = f"""echo '{{"set": {{"paper_end": true}}}}' | socat -t5 - UNIX-CONNECT:{emulator.control_path}"""
    answer = json.loads(subprocess.run(shell, shell=True, capture_output=True, timeout=DEADLINE_S, check=True).stdout)
    assert (answer["ok"], answer["state"]["paper_end"], answer["state"]["offline"]) == (True, True, True)
    assert set(answer["state"]) == CONDITION_NAMES | BEHAVIOUR_NAMES | {"offline", "latched_errors"}


def test_wrong_use_is_said_and_touches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    paths = ["--port", str(tmp_path / "file"), "--control", str(tmp_path / "control")]
    assert run_emulator(paths) == 2
    assert (tmp_path / "file").read_text() == "mine"
    assert "no symbolic link" in capsys.readouterr().err
    paths = ["--port", str(tmp_path / "prn"), "--control", str(tmp_path / "control")]
    assert run_emulator([*paths, "--state", "papr_end"]) == 2
    assert run_emulator([*paths, "--state", "slow=much"]) == 2
    assert run_emulator(["--port", str(tmp_path / "no" / "prn"), "--control", str(tmp_path / "control")]) == 1
    assert run_emulator(["--port", str(tmp_path / "prn"), "--control", str(tmp_path / "no" / "control")]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


def test_a_second_one_is_refused_and_a_killed_one_is_replaced(emulator: Running, tmp_path: Path) -> None:
    second = subprocess.run(command_line(tmp_path), capture_output=True, text=True, timeout=DEADLINE_S)
    assert second.returncode == 2
    assert "another emulator" in second.stderr
    assert emulator.control.get().state["unplugged"] is False
    other = tmp_path / "other"
    other.mkdir()
    killed = start(other)
    assert stop(killed, signal.SIGKILL) == -signal.SIGKILL
    again = start(other)
    assert again.control.get().counters["bytes"] == 0
    assert again.port.exists()
    assert stop(again) == 0


def test_an_unknown_emulator_is_wrong_use() -> None:
    unknown = subprocess.run(
        [sys.executable, "-m", "drivers.emulators", "toaster"], capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert unknown.returncode == 2
    assert "printer" in unknown.stderr


def test_a_client_without_emulator_gets_a_clear_error(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(ControlError, match="no emulator"):
        EmulatorControl(tmp_path / "control").get()
    assert time.monotonic() - began < DEADLINE_S
