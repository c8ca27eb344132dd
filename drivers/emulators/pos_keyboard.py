"""An emulated keypad: a FIFO that carries ``struct input_event`` as an input node does, with faults. For its reader.

Why a FIFO: making a real node needs ``/dev/uinput``. What differs: it does not answer EVIOCGKEY (ENOTTY), and it keeps
what nobody has read, where a node forgets. The emulator holds both ends, so its end of file means: unplugged.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drivers.emulators.control import ControlError, ControlServer
from drivers.emulators.program import check_settings, run_program
from drivers.pos_keyboard.evdev_wire import (
    EV_KEY,
    EV_SYN,
    KEY_MAX,
    PRESSED,
    RELEASED,
    REPEATED,
    SYN_DROPPED,
    SYN_REPORT,
    Event,
    pack,
)

_EV_MSC, _MSC_SCAN = 0x04, 0x04
_STUCK_KEY, _CHATTERING_KEY = 6, 7  # two of the digits
_REPEAT_DELAY_S, _REPEAT_S = 0.25, 0.033
_CHATTER_PAIR_S, _CHATTER_EVERY_S = 0.004, 0.1
_LONGEST_S = 60.0


@dataclass
class Faults:
    """What is the matter with the keypad. ``repeat``: it has EV_REP, so a key that is held repeats."""

    stuck: bool = False
    chatter: bool = False
    unplugged: bool = False
    repeat: bool = True


class KeypadEmulator:
    """Runs on the event loop that calls `start`. ``node`` is made, and taken away when it is unplugged."""

    def __init__(self, node: Path, control: Path | None = None) -> None:
        self.node = node
        self.faults = Faults()
        self.counters: Counter[str] = Counter({"events": 0, "presses": 0, "lost_events": 0, "drops": 0})
        self._control = ControlServer(control, self._handle) if control is not None else None
        self._descriptor = -1
        self._held: set[int] = set()
        self._overflown = False
        self._repeating: asyncio.TimerHandle | None = None
        self._chattering: asyncio.TimerHandle | None = None
        self._typing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises `ControlError` when the node is something else already, `OSError` when it cannot be made."""
        self._refuse_if_taken()
        if self._control is not None:
            await self._control.start()
        try:
            self._follow()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Unplug and remove both paths."""
        for task in self._typing:
            task.cancel()
        self._unplug()
        if self._control is not None:
            await self._control.stop()

    # ── control ────────────────────────────────────────────────────────────────────────────────────────────────
    def apply(self, settings: dict[str, Any]) -> None:
        """Change faults by name: all of them or, with `ControlError`, none."""
        check_settings(settings, self.faults)
        for name, value in settings.items():
            setattr(self.faults, name, value)
        self._follow()

    def view(self) -> dict[str, Any]:
        """Node, faults and counters. Not what was typed."""
        return {"port": str(self.node), "state": asdict(self.faults), "counters": dict(self.counters)}

    def press(self, *codes: int) -> None:
        """Put these keys down; they stay down."""
        for code in codes:
            self._held.add(code)
            self.counters["presses"] += 1
            self._send(*_key(code, PRESSED, time.time()))

    def release(self, *codes: int) -> None:
        for code in codes:
            self._held.discard(code)
            self._send(*_key(code, RELEASED, time.time()))

    def drop(self) -> None:
        """Lose events: every key that is held is let go meanwhile, and only SYN_DROPPED says that something was."""
        self.counters["drops"] += 1
        self._held.clear()
        self._send(Event(time.time(), EV_SYN, SYN_DROPPED, 0), Event(time.time(), EV_SYN, SYN_REPORT, 0))

    async def type(self, codes: Sequence[int], hold_s: float) -> None:
        """Press and release one after the other."""
        for code in codes:
            self.press(code)
            await asyncio.sleep(hold_s)
            self.release(code)

    def _handle(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"set": dict(settings), **rest} if not rest:
                self.apply(settings)
            case {"do": "type", "keys": list(codes), **rest} if rest.keys() <= {"hold_s"}:
                self._begin_typing(_checked(codes), rest.get("hold_s", 0.08))
            case {"do": "press" | "release" as what, "keys": list(codes), **rest} if not rest:
                (self.press if what == "press" else self.release)(*_checked(codes))
            case {"do": "drop", **rest} if not rest:
                self.drop()
            case {"send": str(text), **rest} if not rest:
                self._write(_bytes_of(text), events=0)
            case {"get": True, **rest} if not rest:
                pass
            case _:
                raise ControlError(
                    'a request is {"get": true}, {"set": {…}}, {"send": "hex"},'
                    ' {"do": "type", "keys": […], "hold_s": 0.08},'
                    ' {"do": "press", "keys": […]}, {"do": "release", "keys": […]} or {"do": "drop"}'
                )
        return self.view()

    def _begin_typing(self, codes: list[int], hold_s: object) -> None:
        if isinstance(hold_s, bool) or not isinstance(hold_s, int | float) or not 0 <= hold_s <= _LONGEST_S:
            raise ControlError(f"hold_s is a number of seconds from 0 to {_LONGEST_S:.0f}")
        task = asyncio.get_running_loop().create_task(self.type(codes, hold_s))
        self._typing.add(task)
        task.add_done_callback(self._typing.discard)

    def _follow(self) -> None:
        if self.faults.unplugged:
            self._unplug()
            return
        if self._descriptor < 0:
            self._plug()
        if self.faults.stuck and _STUCK_KEY not in self._held:
            self.press(_STUCK_KEY)
            self._repeat_later(_REPEAT_DELAY_S)
        elif not self.faults.stuck and _STUCK_KEY in self._held:
            self.release(_STUCK_KEY)
        if self.faults.chatter and self._chattering is None:
            self._chatter()

    def _repeat_later(self, delay_s: float) -> None:
        self._repeating = asyncio.get_running_loop().call_later(delay_s, self._repeat)

    def _repeat(self) -> None:
        self._repeating = None
        if self.faults.stuck and self._descriptor >= 0:
            if self.faults.repeat:
                now_s = time.time()
                self._send(Event(now_s, EV_KEY, _STUCK_KEY, REPEATED), Event(now_s, EV_SYN, SYN_REPORT, 1))
            self._repeat_later(_REPEAT_S)

    def _chatter(self) -> None:
        self._chattering = None
        if self.faults.chatter and self._descriptor >= 0:
            now_s = time.time()
            self.counters["presses"] += 1
            self._send(
                *_key(_CHATTERING_KEY, PRESSED, now_s), *_key(_CHATTERING_KEY, RELEASED, now_s + _CHATTER_PAIR_S)
            )
            self._chattering = asyncio.get_running_loop().call_later(_CHATTER_EVERY_S, self._chatter)

    def _refuse_if_taken(self) -> None:
        if os.path.lexists(self.node) and not self.node.is_fifo():
            raise ControlError(f"{self.node} exists and is no FIFO")

    # ── the node ───────────────────────────────────────────────────────────────────────────────────────────────
    def _plug(self) -> None:
        """The FIFO appears with both of its ends held, so that a reader never finds it without a writer."""
        beside = self.node.with_name(f".{self.node.name}.{os.getpid()}")
        beside.unlink(missing_ok=True)
        os.mkfifo(beside, 0o600)
        self._descriptor = os.open(beside, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        beside.replace(self.node)
        self._overflown = False

    def _unplug(self) -> None:
        for timer in (self._repeating, self._chattering):
            if timer is not None:
                timer.cancel()
        self._repeating = self._chattering = None
        self._held.clear()
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(self.node), os.fstat(self._descriptor)):
                    self.node.unlink()
            os.close(self._descriptor)
            self._descriptor = -1

    def _send(self, *events: Event) -> None:
        """As a node does: what its buffer cannot hold is lost, and the next event that it can hold says so."""
        if self._overflown:
            events = (
                Event(events[0].at_s, EV_SYN, SYN_DROPPED, 0),
                Event(events[0].at_s, EV_SYN, SYN_REPORT, 0),
                *events,
            )
        self._overflown = not self._write(b"".join(map(pack, events)), events=len(events))

    def _write(self, data: bytes, *, events: int) -> bool:
        """All of it or nothing: a write of so few bytes to a FIFO is one piece."""
        if self._descriptor < 0:
            return True
        try:
            os.write(self._descriptor, data)
        except BlockingIOError:
            self.counters["lost_events"] += events
            return False
        self.counters["events"] += events
        return True


def _key(code: int, value: int, at_s: float) -> tuple[Event, ...]:
    """As a USB keyboard tells it: scan code, key, end of the report."""
    return (
        Event(at_s, _EV_MSC, _MSC_SCAN, 0x70000 + code),
        Event(at_s, EV_KEY, code, value),
        Event(at_s, EV_SYN, SYN_REPORT, 0),
    )


def _checked(codes: list[Any]) -> list[int]:
    if not all(isinstance(code, int) and not isinstance(code, bool) and 0 < code <= KEY_MAX for code in codes):
        raise ControlError(f"keys are numbers from 1 to {KEY_MAX}")
    return codes


def _bytes_of(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ControlError("send takes bytes in hex") from None


def run_emulator(argv: list[str]) -> int:
    """Command line. Runs until SIGTERM or SIGINT, then removes its files. Exit code as in `run_program`."""
    parser = argparse.ArgumentParser(prog="pos-agent emulate keypad", description="A keypad behind a FIFO.")
    parser.add_argument("--node", type=Path, required=True, help="path of the FIFO that stands for the input node")
    parser.add_argument("--control", type=Path, required=True, help="unix socket that takes commands")
    parser.add_argument("--state", default="", help="state to begin with: stuck,chatter,unplugged,repeat=false")
    arguments = parser.parse_args(argv)
    node, control = arguments.node.absolute(), arguments.control.absolute()
    socat = f"socat - UNIX-CONNECT:{control}"
    explanation = (
        f"keypad emulator: node {node}, control {control}\n"
        f"  read it:      python -m drivers.pos_keyboard.reader --node {node} --report keypad.json --scale 30\n"
        f'  type:         echo \'{{"do": "type", "keys": [2, 3, 4]}}\' | {socat}\n'
        f'  a stuck key:  echo \'{{"set": {{"stuck": true}}}}\' | {socat}\n'
        f'  unplug it:    echo \'{{"set": {{"unplugged": true}}}}\' | {socat}'
    )
    return run_program("keypad", KeypadEmulator(node, control), arguments.state, explanation)
