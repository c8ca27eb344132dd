"""The emulated board: files as the kernel writes them, counters that live, every fault, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.catalog import HOST_SOURCES
from drivers.emulators.board import BoardEmulator, run_emulator
from drivers.emulators.control import ControlError
from drivers.errors import HostSourceError
from drivers.host_contract import Board, CpuReading, MemoryReading
from tests.kit.emulated_board import emulated_board
from tests.kit.emulator_program import DEADLINE_S, EmulatorProgram


def text(board: BoardEmulator, path: str) -> str:
    return (board.folder / path).read_text().strip()


async def test_every_host_source_reads_the_board_and_what_it_was_told_to_say(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        board.apply({"memory_available_pct": 25, "cpu_pressure_pct": 70})
        readings = {
            name: build(Board(board.folder / "proc", board.folder / "sys", tmp_path)).read()
            for name, build in HOST_SOURCES.items()
        }
        memory, cpu = readings["memory"], readings["cpu"]
        assert isinstance(memory, MemoryReading)
        assert isinstance(cpu, CpuReading)
        assert round(memory.available_pct) == 25
        assert cpu.cpu_pressure is not None
        assert cpu.cpu_pressure.some.avg10_pct == 70


async def test_counters_advance_so_that_percentages_are_real(tmp_path: Path) -> None:
    async with emulated_board(tmp_path, step_s=0.02) as board:
        board.apply({"cpu_busy_pct": 50})
        source = HOST_SOURCES["cpu"](Board(board.folder / "proc", board.folder / "sys", tmp_path))
        source.read()
        until_s = board.counters.uptime_s + 1.0  # a hundred ticks of the counters
        async with asyncio.timeout(DEADLINE_S):
            while board.counters.uptime_s < until_s:
                await asyncio.sleep(0.02)
        reading = source.read()
        assert isinstance(reading, CpuReading)
        assert reading.busy_pct is not None
        assert 40 < reading.busy_pct < 60
        sent = [int(text(board, f"sys/class/net/eth0/statistics/{name}")) for name in ("rx_bytes", "tx_bytes")]
        assert all(sent)


@pytest.mark.parametrize(
    ("settings", "file", "content"),
    [
        ({"temperature_c": 95.5}, "sys/class/thermal/thermal_zone0/temp", "95500"),
        ({"throttled": True}, "sys/class/thermal/cooling_device0/cur_state", "3"),
        ({"throttled": True}, "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "900000"),
        ({"carrier": False}, "sys/class/net/eth0/carrier", "0"),
        ({"carrier": False}, "sys/class/net/eth0/operstate", "down"),
        ({"carrier": False}, "sys/class/net/eth0/carrier_changes", "2"),
        ({"mains": False, "battery_pct": 12}, "sys/class/power_supply/BAT0/capacity", "12"),
        ({"mains": False}, "sys/class/power_supply/BAT0/status", "Discharging"),
        ({"mains": False}, "sys/class/power_supply/AC/online", "0"),
        ({"battery_worn": True}, "sys/class/power_supply/BAT0/health", "Dead"),
        ({"wear": 11}, "sys/block/mmcblk0/device/life_time", "0x0b 0x0b"),
        ({"reserve_wear": 3}, "sys/block/mmcblk0/device/pre_eol_info", "0x03"),
        ({"ext4_errors": 4}, "sys/fs/ext4/mmcblk0p2/errors_count", "4"),
        ({"keypad_gone": False}, "sys/class/input/event1/device/name", "Emulated POS Keypad"),
    ],
)
async def test_a_setting_is_in_its_file_when_it_is_set(
    tmp_path: Path, settings: dict[str, Any], file: str, content: str
) -> None:
    async with emulated_board(tmp_path) as board:
        board.apply(settings)
        assert text(board, file) == content


async def test_the_route_and_the_neighbour_come_and_go(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        assert "\n".join(text(board, "proc/net/route").splitlines()).count("eth0") == 2
        assert "0x2" in text(board, "proc/net/arp")
        board.apply({"route": False, "gateway": False})
        assert text(board, "proc/net/route").count("eth0") == 1
        assert "00:00:00:00:00:00" in text(board, "proc/net/arp")
        board.apply({"carrier": False})
        assert text(board, "proc/net/route").count("eth0") == 0


async def test_a_device_that_is_gone_leaves_no_folder_and_no_node(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        board.apply({"keypad_gone": True, "touch_gone": True})
        assert not (board.folder / "sys/class/input").exists()
        assert os.listdir(board.folder / "dev/input") == ["by-path"]
        assert os.listdir(board.folder / "dev/input/by-path") == []
        board.apply({"keypad_gone": False, "touch_gone": False})
        assert {"event1", "event2"} <= set(os.listdir(board.folder / "dev/input"))


async def test_a_reboot_gives_another_boot_id_and_counters_from_the_beginning(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        before = text(board, "proc/sys/kernel/random/boot_id")
        board.apply({"carrier": False, "temperature_c": 70})
        board.reboot()
        after = text(board, "proc/sys/kernel/random/boot_id")
        assert uuid.UUID(before) != uuid.UUID(after)
        assert float(text(board, "proc/uptime").split()[0]) < 60
        assert text(board, "sys/class/net/eth0/carrier_changes") == "1"
        assert text(board, "sys/class/net/eth0/carrier") == "0"  # the cable is still out
        assert board.view()["counters"]["boots"] == 2


async def test_each_way_of_breaking_a_file_is_seen_by_who_reads_it_and_mended(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        source = HOST_SOURCES["memory"](Board(board.folder / "proc", board.folder / "sys", tmp_path))
        for way in ("vanish", "empty", "rubbish"):
            board.apply({way: "proc/stat, proc/meminfo"})
            with pytest.raises(HostSourceError, match="meminfo"):
                source.read()
            board.apply({way: ""})
            source.read()


async def test_a_file_that_blocks_holds_its_reader_until_it_is_mended(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        source = HOST_SOURCES["memory"](Board(board.folder / "proc", board.folder / "sys", tmp_path))
        board.apply({"block": "proc/meminfo"})
        reading = asyncio.create_task(asyncio.to_thread(source.read))
        await asyncio.sleep(0.3)
        assert not reading.done()
        board.apply({"block": ""})
        with pytest.raises(HostSourceError, match="empty"):
            await reading
        source.read()


@pytest.mark.parametrize(
    "settings",
    [
        {"temprature_c": 3},
        {"temperature_c": "hot"},
        {"carrier": 1},
        {"carrier": False, "battery_pct": 101},
        {"brightness": -1},
        {"block": True},
        {"block": "../../etc/passwd"},
        {"vanish": "proc/../../x"},
        {"vanish": "home"},
    ],
)
async def test_a_setting_that_makes_no_sense_changes_nothing(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with emulated_board(tmp_path) as board:
        before = board.view()["state"]
        with pytest.raises(ControlError):
            board.apply(settings)
        assert board.view()["state"] == before


class Program(EmulatorProgram):
    """A board with its folder."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.folder = folder / "board"
        super().__init__("board", folder, "--folder", str(self.folder), *more)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    running = Program(tmp_path, "--state", "temperature_c=70,keypad_gone")
    yield running
    assert running.stop() == 0
    assert list(tmp_path.iterdir()) == []


def test_as_a_program_it_is_told_from_outside_and_leaves_nothing(program: Program) -> None:
    assert str(program.folder) in program.first_line
    view = program.control.get()
    assert (view.port, view.state["temperature_c"], view.state["keypad_gone"]) == (str(program.folder), 70, True)
    boot_id = view.state["boot_id"]
    assert program.control.do("reboot").state["boot_id"] != boot_id
    program.control.set(keypad_gone=False, block="proc/stat")
    assert (program.folder / "proc/stat").is_fifo()
    deadline = time.monotonic() + DEADLINE_S
    before = program.control.get().counters["rx_bytes"]
    while program.control.get().counters["rx_bytes"] == before:
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    "request_line", [b"{}", b'{"do": "explode"}', b'{"do": "reboot", "now": true}', b'{"set": []}']
)
def test_a_request_that_makes_no_sense_is_refused(program: Program, request_line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE_S)
        connection.connect(str(program.control_path))
        connection.sendall(request_line + b"\n")
        with connection.makefile("rb") as lines:
            assert json.loads(lines.readline())["ok"] is False


def test_a_folder_that_is_no_emulated_board_is_left_alone_and_a_killed_one_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "other/proc").mkdir(parents=True)
    (tmp_path / "other/proc/mine").write_text("mine")
    arguments = ["--folder", str(tmp_path / "other"), "--control", str(tmp_path / "control")]
    assert run_emulator(arguments) == 2
    assert (tmp_path / "other/proc/mine").read_text() == "mine"
    killed = Program(tmp_path, "--state", "vanish=proc/stat")
    assert killed.stop(signal.SIGKILL) == -signal.SIGKILL
    again = Program(tmp_path)
    assert (again.folder / "proc/stat").exists()
    assert again.stop() == 0
    assert not again.folder.exists()
