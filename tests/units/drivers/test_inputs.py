"""Input devices found by what stays the same of them, in trees that are whole, changing, hostile or broken."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import DeviceSpec, OptionValue
from drivers.errors import HostSourceError, SpecInvalid
from drivers.inputs.capability_wire import BTN_TOUCH, format_bitmap, is_touch_panel, keys_of, parse_bitmap
from drivers.inputs.sysfs import InputFinder, NotThere
from drivers.pos_keyboard.evdev import build_keypad
from drivers.sysfs_contract import KeypadReading, ListedDevice, TouchReading
from tests.kit.emulated_board import (
    KEYPAD_BY_NAME,
    KEYPAD_FILES,
    TOUCH_BY_NAME,
    emulated_board,
    keypad_port,
    on_board,
)


def finder(folder: Path, port: str = "", **options: OptionValue) -> InputFinder:
    return InputFinder(
        DeviceSpec("k", "evdev_keypad", port, "pos_keyboard", sysfs=folder / "sys", dev=folder / "dev", options=options)
    )


def read_keypad(device: ListedDevice) -> KeypadReading:
    reading = device.read()
    assert isinstance(reading, KeypadReading)
    return reading


# ── bitmaps ────────────────────────────────────────────────────────────────────────────────────────────────────
@given(st.frozensets(st.integers(0, 0x2FF)), st.sampled_from([32, 64]))
def test_a_bitmap_reads_back_as_it_was_written(numbers: frozenset[int], word_bits: int) -> None:
    assert parse_bitmap(format_bitmap(numbers, word_bits), word_bits) == numbers


@given(st.binary(max_size=200))
def test_any_bytes_are_a_bitmap_or_refused(text: bytes) -> None:
    try:
        numbers = parse_bitmap(text)
    except ValueError:
        return
    assert parse_bitmap(format_bitmap(numbers)) == numbers


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"0x10\n", b"1  2\n", b"-1", b"G", b"1" * 17, b"1\n1\n", b"1 " * 65 + b"1"]
)
def test_what_the_kernel_never_prints_is_no_bitmap(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"no bitmap"):
        parse_bitmap(text)


def test_a_bitmap_of_a_pc_keyboard_and_of_a_32_bit_kernel_are_read_as_the_kernel_means_them() -> None:
    keys = parse_bitmap(b"402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n", 64)
    assert {1, 2, 28, 57, 59} <= keys
    assert 0 not in keys
    assert parse_bitmap(b"1 0 0\n", 32) == {64}
    with pytest.raises(ValueError, match="32 bits"):
        parse_bitmap(b"100000000\n", 32)


def test_buttons_are_no_keys_and_a_panel_needs_all_its_signs() -> None:
    assert keys_of(frozenset({0, 1, 0xFF, 0x100, BTN_TOUCH, 0x15F, 0x160})) == {1, 0xFF, 0x160}
    touch, direct = frozenset({BTN_TOUCH}), frozenset({1})
    assert is_touch_panel(touch, frozenset({0, 1}), direct)
    assert is_touch_panel(touch, frozenset({0x35, 0x36}), direct)
    assert not is_touch_panel(touch, frozenset({0, 0x36}), direct)
    assert not is_touch_panel(frozenset(), frozenset({0, 1}), direct)
    assert not is_touch_panel(touch, frozenset({0, 1}), frozenset())  # a touch pad of a notebook


# ── finding ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "port is missing, and so are the options that find it: name, phys, usb_id"),
        ({"nam": "x"}, "unknown option nam"),
        ({"name": True}, "option name is text"),
        ({"name": ""}, "option name is text"),
        ({"usb_id": "046D:C31C"}, "usb_id is vendor and product"),
        ({"usb_id": "46d"}, "usb_id is vendor and product"),
    ],
)
def test_a_device_that_nothing_can_find_is_refused(options: dict[str, OptionValue], problem: str) -> None:
    with pytest.raises(SpecInvalid, match=problem):
        build_keypad(DeviceSpec("k", "evdev_keypad", "", "pos_keyboard", options=options))


async def test_a_keypad_is_found_by_port_name_place_or_numbers_and_by_all_of_them(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        every: dict[str, OptionValue] = {**KEYPAD_BY_NAME, "phys": "usb-emulated-1/input0", "usb_id": "1209:0001"}
        ways: list[dict[str, OptionValue]] = [{key: value} for key, value in every.items()]
        for options in [*ways, every]:
            assert read_keypad(on_board(board, "evdev_keypad", options)) == KeypadReading(None, 17)
        assert read_keypad(on_board(board, "evdev_keypad", port=keypad_port(board))) == KeypadReading(None, 17)
        assert read_keypad(on_board(board, "evdev_keypad", every, port=keypad_port(board))).absence is None
        wrong = read_keypad(on_board(board, "evdev_keypad", {**every, "usb_id": "1209:0002"}))
        assert wrong.absence is not None


async def test_a_keypad_that_goes_and_comes_back_under_another_number_is_followed(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        by_port = on_board(board, "evdev_keypad", port=keypad_port(board))
        by_name = on_board(board, "evdev_keypad", KEYPAD_BY_NAME)
        board.apply({"keypad_gone": True})
        assert "port" in str(read_keypad(by_port).absence)
        assert "unplugged" in str(read_keypad(by_name).absence)
        inputs, nodes = board.folder / "sys/class/input", board.folder / "dev/input"
        board.apply({"keypad_gone": False})
        (inputs / "event1").rename(inputs / "event17")
        (nodes / "event1").rename(nodes / "event17")
        (nodes / "by-path/platform-keypad-event-kbd").unlink()
        (nodes / "by-path/platform-keypad-event-kbd").symlink_to("../event17")
        for device in (by_port, by_name):
            assert read_keypad(device) == KeypadReading(None, 17)


async def test_another_device_at_the_port_is_not_the_keypad(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        link = board.folder / "dev/input/by-path/platform-keypad-event-kbd"
        link.unlink()
        link.symlink_to("../event2")
        named = on_board(board, "evdev_keypad", KEYPAD_BY_NAME, port=str(link))
        assert read_keypad(named).absence == "another device is at its port"
        unnamed = on_board(board, "evdev_keypad", port=str(link))
        assert "no keys" in str(read_keypad(unnamed).absence)


async def test_a_missing_node_counts_as_a_missing_keypad(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        (board.folder / "dev/input/event1").unlink()
        assert "event1 is missing" in str(read_keypad(on_board(board, "evdev_keypad", KEYPAD_BY_NAME)).absence)


async def test_a_node_is_never_opened(tmp_path: Path) -> None:
    """The board's nodes are FIFOs: had anybody opened one for reading, opening it for writing would succeed."""
    async with emulated_board(tmp_path) as board:
        for driver, options in (("evdev_keypad", KEYPAD_BY_NAME), ("evdev_touch", TOUCH_BY_NAME)):
            device = on_board(board, driver, options)
            device.read()
        for event in ("event1", "event2"):
            node = board.folder / "dev/input" / event
            assert stat.S_ISFIFO(node.stat().st_mode)
            with pytest.raises(OSError, match="No such device or address"):
                os.open(node, os.O_WRONLY | os.O_NONBLOCK)


async def test_a_touch_panel_is_there_only_while_it_is_one(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        panel = on_board(board, "evdev_touch", TOUCH_BY_NAME)
        assert panel.read() == TouchReading(None)
        keypad = on_board(board, "evdev_touch", KEYPAD_BY_NAME)
        reading = keypad.read()
        assert isinstance(reading, TouchReading)
        assert "no touch panel" in str(reading.absence)
        board.apply({"touch_gone": True})
        gone = panel.read()
        assert isinstance(gone, TouchReading)
        assert gone.absence


@pytest.mark.parametrize("broken", ["empty", "rubbish", "vanish"])
@pytest.mark.parametrize("file", ["capabilities/key", "capabilities/abs", "properties"])
async def test_a_broken_file_of_the_keypad_itself_is_no_reading_and_names_the_file(
    tmp_path: Path, broken: str, file: str
) -> None:
    async with emulated_board(tmp_path) as board:
        keypad = on_board(board, "evdev_keypad", KEYPAD_BY_NAME)
        board.apply({broken: f"{KEYPAD_FILES}/device/{file}"})
        with pytest.raises(HostSourceError, match=file):
            read_keypad(keypad)
        board.apply({broken: ""})
        assert read_keypad(keypad).absence is None


@pytest.mark.parametrize("broken", ["empty", "rubbish", "vanish"])
async def test_a_broken_file_of_another_device_hides_nothing(tmp_path: Path, broken: str) -> None:
    async with emulated_board(tmp_path) as board:
        board.apply({broken: "sys/class/input/event2"})
        assert read_keypad(on_board(board, "evdev_keypad", KEYPAD_BY_NAME)).absence is None


def test_loops_dangling_links_and_wrong_targets_end_in_words_not_in_a_hang(tmp_path: Path) -> None:
    (tmp_path / "sys/class/input").mkdir(parents=True)
    (tmp_path / "dev/input").mkdir(parents=True)
    one, two = tmp_path / "dev/input/one", tmp_path / "dev/input/two"
    one.symlink_to(two)
    two.symlink_to(one)
    with pytest.raises(NotThere, match="levels of symbolic links"):
        finder(tmp_path, str(one)).candidates()
    two.unlink()
    with pytest.raises(NotThere, match="No such file"):
        finder(tmp_path, str(one)).candidates()
    two.touch()
    with pytest.raises(HostSourceError, match="no input event node"):
        finder(tmp_path, str(one)).candidates()
    node = tmp_path / "dev/input/event5"
    node.touch()
    with pytest.raises(NotThere, match="lists no such device"):
        finder(tmp_path, str(node)).candidates()
    loop = tmp_path / "sys/class/input/event5"
    loop.symlink_to(loop)
    with pytest.raises(NotThere):
        finder(tmp_path, str(node)).candidates()
    with pytest.raises(NotThere, match="unplugged"):
        finder(tmp_path, name="x").candidates()


def test_a_folder_of_inputs_that_is_none_is_no_reading(tmp_path: Path) -> None:
    (tmp_path / "sys/class").mkdir(parents=True)
    with pytest.raises(NotThere):
        finder(tmp_path, name="x").candidates()
    (tmp_path / "sys/class/input").touch()
    with pytest.raises(HostSourceError, match="cannot be listed"):
        finder(tmp_path, name="x").candidates()
