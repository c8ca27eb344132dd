"""The emulated keypad as a program: what it writes is what an input node writes, and it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.emulators.control import ControlError
from drivers.emulators.pos_keyboard import KeypadEmulator, run_emulator
from drivers.pos_keyboard.evdev_wire import EV_KEY, EV_SYN, SYN_DROPPED, SYN_REPORT, Event, cut
from tests.kit.emulator_program import DEADLINE_S, EmulatorProgram


def events_at(node: Path, count: int) -> list[Event]:
    """At least so many, as a reader of the node gets them."""
    descriptor = os.open(node, os.O_RDONLY | os.O_NONBLOCK)
    found, rest, deadline = list[Event](), b"", time.monotonic() + DEADLINE_S
    try:
        while len(found) < count:
            assert time.monotonic() < deadline, found
            try:
                some, rest = cut(rest + os.read(descriptor, 4096))
                found += some
            except BlockingIOError:
                time.sleep(0.001)
    finally:
        os.close(descriptor)
    return found


def keys(events: list[Event]) -> list[tuple[int, int]]:
    return [(event.code, event.value) for event in events if event.type == EV_KEY]


class Program(EmulatorProgram):
    """A keypad with its node."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.node = folder / "event1"
        super().__init__("keypad", folder, "--node", str(self.node), *more)


@pytest.fixture
def keypad(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path)
    yield program
    assert program.stop() == 0
    assert list(tmp_path.iterdir()) == []


def test_what_is_typed_comes_as_from_a_usb_keyboard(keypad: Program) -> None:
    assert str(keypad.node) in keypad.first_line
    keypad.control.do("type", keys=[2, 30], hold_s=0.001)
    events = events_at(keypad.node, 12)
    assert keys(events) == [(2, 1), (2, 0), (30, 1), (30, 0)]
    assert [event.type for event in events] == [4, EV_KEY, EV_SYN] * 4
    assert events == sorted(events, key=lambda event: event.at_s)
    assert keypad.control.get().counters["presses"] == 2


def test_a_stuck_key_repeats_until_it_is_free(keypad: Program) -> None:
    keypad.control.set(stuck=True)
    assert [value for _code, value in keys(events_at(keypad.node, 9))][:3] == [1, 2, 2]
    keypad.control.set(stuck=False)
    deadline = time.monotonic() + DEADLINE_S
    while keys(events_at(keypad.node, 1))[-1:] != [(6, 0)]:
        assert time.monotonic() < deadline


def test_a_keypad_without_repeat_is_silent_while_its_key_is_stuck(keypad: Program) -> None:
    keypad.control.set(repeat=False, stuck=True)
    assert keys(events_at(keypad.node, 3)) == [(6, 1)]
    time.sleep(0.5)  # twice the delay after which it would repeat
    assert keypad.control.get().counters["events"] == 3


def test_chatter_is_many_short_presses_of_one_key(keypad: Program) -> None:
    keypad.control.set(chatter=True)
    events = [event for event in events_at(keypad.node, 36) if event.type == EV_KEY]
    assert {event.code for event in events} == {7}
    assert all(0 < end.at_s - begin.at_s < 0.02 for begin, end in zip(events[::2], events[1::2], strict=True))


def test_a_loss_is_told_and_what_the_buffer_cannot_hold_is_lost_and_told_too(keypad: Program) -> None:
    keypad.control.do("press", keys=[30])
    keypad.control.do("drop")
    last = events_at(keypad.node, 5)[-2:]
    assert [(event.type, event.code) for event in last] == [(EV_SYN, SYN_DROPPED), (EV_SYN, SYN_REPORT)]
    while keypad.control.get().counters["lost_events"] == 0:
        keypad.control.do("press", keys=[30] * 200)
    events_at(keypad.node, 1000)
    keypad.control.do("release", keys=[30])
    deadline = time.monotonic() + DEADLINE_S
    while (EV_SYN, SYN_DROPPED) not in [(event.type, event.code) for event in events_at(keypad.node, 1)]:
        assert time.monotonic() < deadline


def test_unplugging_ends_the_file_and_takes_the_node_away(keypad: Program) -> None:
    descriptor = os.open(keypad.node, os.O_RDONLY)
    keypad.control.set(unplugged=True)
    assert os.read(descriptor, 100) == b""
    assert not keypad.node.exists()
    os.close(descriptor)
    keypad.control.set(unplugged=False)
    keypad.control.do("type", keys=[2], hold_s=0.0)
    assert keys(events_at(keypad.node, 6)) == [(2, 1), (2, 0)]


def test_raw_bytes_can_be_sent(keypad: Program) -> None:
    keypad.control.send(b"\x01\x02\x03")
    descriptor = os.open(keypad.node, os.O_RDONLY)
    assert os.read(descriptor, 100) == b"\x01\x02\x03"
    os.close(descriptor)


@pytest.mark.parametrize(
    "request_line",
    [
        b'{"set": {"stuk": true}}',
        b'{"set": {"stuck": 1}}',
        b'{"set": {"stuck": true, "chatter": "yes"}}',
        b'{"do": "dance"}',
        b'{"do": "drop", "more": 1}',
        b'{"do": "type", "keys": [0]}',
        b'{"do": "type", "keys": [768]}',
        b'{"do": "type", "keys": [true]}',
        b'{"do": "type", "keys": ["a"]}',
        b'{"do": "type", "keys": [2], "hold_s": -1}',
        b'{"do": "type", "keys": [2], "hold_s": true}',
        b'{"do": "press"}',
        b'{"send": "xy"}',
        b"[]",
    ],
)
def test_a_request_that_makes_no_sense_is_refused_and_changes_nothing(keypad: Program, request_line: bytes) -> None:
    before = keypad.control.get()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE_S)
        connection.connect(str(keypad.control_path))
        connection.sendall(request_line + b"\n")
        with connection.makefile("rb") as lines:
            refused = json.loads(lines.readline())
    assert refused["ok"] is False
    assert refused["error"]
    assert keypad.control.get() == before


def test_a_killed_one_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    killed = Program(tmp_path)
    assert killed.stop(signal.SIGKILL) == -signal.SIGKILL
    again = Program(tmp_path, "--state", "unplugged")
    assert again.control.get().state["unplugged"] is True
    assert again.stop() == 0
    (tmp_path / "event1").write_text("mine")
    arguments = ["--node", str(tmp_path / "event1"), "--control", str(tmp_path / "control")]
    assert run_emulator(arguments) == 2
    assert (tmp_path / "event1").read_text() == "mine"
    assert run_emulator(["--node", str(tmp_path / "no/event1"), "--control", str(tmp_path / "control")]) == 1
    other = ["--node", str(tmp_path / "event2"), "--control", str(tmp_path / "control")]
    assert run_emulator([*other, "--state", "stuk"]) == 2
    assert run_emulator([*other, "--state", "stuck=7"]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"event1"}


async def test_a_node_that_somebody_else_has_put_there_is_not_taken_away(tmp_path: Path) -> None:
    keypad = KeypadEmulator(tmp_path / "event1")
    await keypad.start()
    keypad.node.unlink()
    keypad.node.touch()
    await keypad.stop()
    assert keypad.node.exists()
    with pytest.raises(ControlError):
        await keypad.start()
    await asyncio.sleep(0)
