"""Screens: EDID whole or damaged, connector and backlight as the kernel writes them, and every way of not doing so."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import DeviceSpec, OptionValue
from drivers.emulators.board_files import edid
from drivers.errors import HostSourceError, SpecInvalid
from drivers.screen.drm import build_screen
from drivers.screen.edid_wire import HEADER, edid_problem, with_checksum
from drivers.sysfs_contract import ListedDevice, ScreenReading
from tests.kit.emulated_board import BACKLIGHT_FILES, SCREEN_FILES, WHOLE_SCREEN, emulated_board, on_board


def read_screen(device: ListedDevice) -> ScreenReading:
    reading = device.read()
    assert isinstance(reading, ScreenReading)
    return reading


def edid_with(extensions: list[bytes]) -> bytes:
    first = with_checksum(HEADER + bytes(118) + bytes((len(extensions),)))
    return first + b"".join(map(with_checksum, extensions))


# ── EDID ───────────────────────────────────────────────────────────────────────────────────────────────────────
@given(st.lists(st.binary(min_size=127, max_size=127), max_size=3))
def test_a_whole_edid_has_no_problem_and_any_turned_bit_in_a_block_is_seen(extensions: list[bytes]) -> None:
    whole = edid_with(extensions)
    assert edid_problem(whole) is None
    for at in range(0, len(whole), 61):
        broken = bytearray(whole)
        broken[at] ^= 0x04
        assert edid_problem(bytes(broken)) is not None


@given(st.binary(max_size=600))
def test_any_bytes_are_an_edid_or_have_a_problem(data: bytes) -> None:
    problem = edid_problem(data)
    is_whole = (
        len(data) % 128 == 0
        and data.startswith(HEADER)
        and len(data) >= 128 * (1 + data[126])
        and not any(sum(data[start : start + 128]) % 256 for start in range(0, len(data), 128))
    )
    assert (problem is None) == (is_whole or not data)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (edid()[:100], "no whole blocks"),
        (bytes(128), "does not begin as one"),
        (edid_with([bytes(127)])[:128], "missing at its end"),
        (edid(corrupt=True), "checksum of block 0"),
    ],
)
def test_a_damaged_edid_says_what_is_wrong(data: bytes, problem: str) -> None:
    assert problem in str(edid_problem(data))


def test_more_blocks_than_the_first_one_tells_are_taken() -> None:
    assert edid_problem(edid() + with_checksum(bytes(127))) is None


# ── the screen ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "connector and backlight are both missing"),
        ({"connector": "HDMI/A"}, "option connector is a name"),
        ({"connector": ".."}, "option connector is a name"),
        ({"backlight": True}, "option backlight is a name"),
        ({"conector": "x", "backlight": "y"}, "unknown option conector"),
    ],
)
def test_a_screen_with_nothing_to_look_at_is_refused(options: dict[str, OptionValue], problem: str) -> None:
    with pytest.raises(SpecInvalid, match=problem):
        build_screen(DeviceSpec("s", "drm_screen", "", "screen", options=options))


@pytest.mark.parametrize(
    ("settings", "connector", "backlight"),
    [
        ({}, {"status": "connected", "enabled": True, "dpms": "On", "modes": 2}, {"powered": True, "brightness": 80}),
        ({"screen_disconnected": True}, {"status": "disconnected", "edid_bytes": 0, "modes": 0}, {}),
        ({"screen_off": True}, {"status": "connected", "enabled": False, "dpms": "Off"}, {"powered": False}),
        ({"edid_corrupt": True}, {"edid_bytes": 128, "edid_problem": "the checksum of block 0 is wrong"}, {}),
        ({"edid_missing": True}, {"edid_bytes": 0, "edid_problem": None}, {}),
        ({"backlight_off": True}, {"dpms": "On"}, {"powered": False, "actual_brightness": 0, "brightness": 80}),
        ({"brightness": 0}, {}, {"powered": True, "brightness": 0, "max_brightness": 100}),
    ],
)
async def test_each_condition_is_read(
    tmp_path: Path, settings: dict[str, Any], connector: dict[str, Any], backlight: dict[str, Any]
) -> None:
    async with emulated_board(tmp_path) as board:
        screen = on_board(board, "drm_screen", WHOLE_SCREEN)
        healthy = read_screen(screen)
        board.apply(settings)
        reading = read_screen(screen)
        assert {name: getattr(reading.connector, name) for name in connector} == connector
        assert {name: getattr(reading.backlight, name) for name in backlight} == backlight
        board.apply(dict.fromkeys(settings, False) if "brightness" not in settings else {"brightness": 80})
        assert read_screen(screen) == healthy


async def test_the_number_of_the_card_may_change_and_of_two_the_connected_one_counts(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        screen = on_board(board, "drm_screen", {"connector": "HDMI-A-1"})
        drm = board.folder / "sys/class/drm"
        shutil.copytree(drm / "card0-HDMI-A-1", drm / "card7-HDMI-A-1")
        (drm / "card1-HDMI-A-10").mkdir()  # another connector, broken
        board.apply({"screen_disconnected": True})
        reading = read_screen(screen)
        assert reading.connector is not None
        assert reading.connector.status == "connected"
        assert (reading.has_backlight, reading.backlight) == (False, None)
        board.apply({"vanish": SCREEN_FILES})
        assert read_screen(screen).connector is not None
        shutil.rmtree(drm / "card7-HDMI-A-1")
        assert read_screen(screen).connector is None


async def test_a_connector_or_backlight_that_the_kernel_does_not_list_is_absent(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        screen = on_board(board, "drm_screen", WHOLE_SCREEN)
        board.apply({"vanish": "sys/class/drm,sys/class/backlight"})
        assert read_screen(screen) == ScreenReading(True, None, True, None)


@pytest.mark.parametrize("broken", ["empty", "rubbish", "vanish"])
@pytest.mark.parametrize(
    "file",
    [
        *(f"{SCREEN_FILES}/{name}" for name in ("status", "enabled", "dpms")),
        *(f"{BACKLIGHT_FILES}/{name}" for name in ("brightness", "max_brightness", "actual_brightness", "bl_power")),
    ],
)
async def test_a_broken_file_is_no_reading_and_is_named(tmp_path: Path, broken: str, file: str) -> None:
    async with emulated_board(tmp_path) as board:
        screen = on_board(board, "drm_screen", WHOLE_SCREEN)
        board.apply({broken: file})
        with pytest.raises(HostSourceError, match=file):
            read_screen(screen)


@pytest.mark.parametrize("broken", ["vanish", "rubbish"])
async def test_a_broken_edid_file_is_no_whole_edid(tmp_path: Path, broken: str) -> None:
    async with emulated_board(tmp_path) as board:
        screen = on_board(board, "drm_screen", WHOLE_SCREEN)
        board.apply({broken: f"{SCREEN_FILES}/edid"})
        if broken == "vanish":
            with pytest.raises(HostSourceError, match="edid"):
                read_screen(screen)
        else:
            connector = read_screen(screen).connector
            assert connector is not None
            assert connector.edid_problem


async def test_a_brightness_that_cannot_be_is_no_reading(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        screen = on_board(board, "drm_screen", WHOLE_SCREEN)
        folder = board.folder / BACKLIGHT_FILES
        for name, content in (("brightness", "101\n"), ("brightness", "-1\n"), ("max_brightness", "0\n")):
            before = (folder / name).read_text()
            (folder / name).write_text(content)
            with pytest.raises(HostSourceError):
                read_screen(screen)
            (folder / name).write_text(before)
        assert read_screen(screen).backlight is not None


async def test_nothing_of_a_screen_is_ever_written(tmp_path: Path) -> None:
    async with emulated_board(tmp_path, step_s=60.0) as board:
        files = [path for path in (board.folder / "sys").rglob("*") if path.is_file()]
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in files}
        read_screen(on_board(board, "drm_screen", WHOLE_SCREEN))
        assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino) for path in files}
