"""An emulated ESC/POS printer behind a pty: a stable port path, faults from a control socket, a command line.

The port path is a symbolic link to the pty, so that unplugging and plugging again gives a new device under the same
name, as udev's ``/dev/serial/by-id`` does. The emulator holds the other end open too: a program that closes the port
does not hang the line up. Left out: modem lines and speed, which a pty does not have.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import tty
from collections import deque
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from drivers.emulators.control import ControlError, ControlServer
from drivers.emulators.escpos_machine import Conditions, EscposMachine
from drivers.emulators.program import run_program

_GARBAGE = bytes((0xFF, 0x00, 0xA5, 0x55, 0x93))  # nothing of it can be an answer
_READ_BYTES = 4096
_LONGEST_DELAY_S = 600.0


@dataclass
class Behaviour:
    """How the printer treats the line, beside what is the matter with it."""

    silent: bool = False  # hears and prints, but never answers
    garbage: bool = False  # answers with bytes that are no answer
    slow: float = 0.0  # seconds before each answer
    stalled: bool = False  # takes no bytes off the line
    unplugged: bool = False


CONDITION_NAMES = frozenset(field.name for field in fields(Conditions))
BEHAVIOUR_NAMES = frozenset(field.name for field in fields(Behaviour))


class PrinterEmulator:
    """Runs on the event loop that calls `start`. ``control`` may be left out where the caller uses `apply` itself."""

    def __init__(self, port: Path, control: Path | None = None) -> None:
        self.port = port
        self.machine = EscposMachine()
        self.behaviour = Behaviour()
        self._control = ControlServer(control, self._handle) if control is not None else None
        self._master = -1
        self._slave = -1
        self._replies: deque[bytes] = deque()
        self._reply_timer: asyncio.TimerHandle | None = None
        self._garbage = itertools.cycle(_GARBAGE)

    async def start(self) -> None:
        """Raises `ControlError` when a path is taken by something else, `OSError` when it cannot be made."""
        if self.port.exists() and not self.port.is_symlink():
            raise ControlError(f"{self.port} exists and is no symbolic link")
        if self._control is not None:
            await self._control.start()
        try:
            if not self.behaviour.unplugged:
                self._plug()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Hang up and remove both paths."""
        self._unplug()
        if self._control is not None:
            await self._control.stop()

    # ── control ────────────────────────────────────────────────────────────────────────────────────────────────
    def apply(self, settings: dict[str, Any]) -> None:
        """Change conditions and behaviour by name: all of them or, with `ControlError`, none."""
        for name, value in settings.items():
            if name not in CONDITION_NAMES | BEHAVIOUR_NAMES:
                known = ", ".join(sorted(CONDITION_NAMES | BEHAVIOUR_NAMES))
                raise ControlError(f"no such state; there are: {known}")
            if name == "slow":
                if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST_DELAY_S:
                    raise ControlError(f"slow is a number of seconds from 0 to {_LONGEST_DELAY_S:.0f}")
            elif not isinstance(value, bool):
                raise ControlError(f"{name} is true or false")
        for name in BEHAVIOUR_NAMES & settings.keys():
            setattr(self.behaviour, name, settings[name])
        self._answer(self.machine.change({name: settings[name] for name in CONDITION_NAMES & settings.keys()}))
        self._follow_behaviour()

    def view(self) -> dict[str, Any]:
        """Port, state, counters and last slip, as the control socket shows them."""
        state = asdict(self.machine.conditions) | asdict(self.behaviour)
        state |= {"offline": self.machine.offline, "latched_errors": self.machine.latched_errors}
        return {
            "port": str(self.port),
            "state": state,
            "counters": dict(self.machine.counters),
            "last_slip": self.machine.last_slip,
        }

    def _handle(self, request: dict[str, Any]) -> dict[str, Any]:
        match request:
            case {"set": dict(settings), **rest} if not rest:
                self.apply(settings)
            case {"send": str(text), **rest} if not rest:
                try:
                    data = bytes.fromhex(text)
                except ValueError:
                    raise ControlError("send takes bytes in hex") from None
                self._send(data)
            case {"get": True, **rest} if not rest:
                pass
            case _:
                raise ControlError('a request is {"get": true}, {"set": {…}} or {"send": "hex"}')
        return self.view()

    def _follow_behaviour(self) -> None:
        if self.behaviour.unplugged and self._master >= 0:
            self._unplug()
            self.machine.power_cycle()
        elif not self.behaviour.unplugged and self._master < 0:
            self._plug()
        self._listen()

    # ── the line ───────────────────────────────────────────────────────────────────────────────────────────────
    def _plug(self) -> None:
        self._master, self._slave = os.openpty()
        os.set_blocking(self._master, False)
        tty.setraw(self._slave)  # all eight bits pass unchanged, nothing is echoed
        beside = self.port.with_name(f".{self.port.name}.{os.getpid()}")
        beside.unlink(missing_ok=True)
        beside.symlink_to(os.ttyname(self._slave))
        beside.replace(self.port)
        self._listen()

    def _unplug(self) -> None:
        """Closing the master end hangs the line up: readers get end of file, writers EIO, as with a pulled cable."""
        if self._master < 0:
            return
        self._replies.clear()
        if self._reply_timer is not None:
            self._reply_timer.cancel()
            self._reply_timer = None
        asyncio.get_running_loop().remove_reader(self._master)
        with contextlib.suppress(OSError):
            if self.port.readlink() == Path(os.ttyname(self._slave)):  # never what somebody else has put there
                self.port.unlink()
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1

    def _listen(self) -> None:
        if self._master < 0:
            return
        loop = asyncio.get_running_loop()
        if self.behaviour.stalled:
            loop.remove_reader(self._master)
        else:
            loop.add_reader(self._master, self._heard)

    def _heard(self) -> None:
        try:
            data = os.read(self._master, _READ_BYTES)
        except BlockingIOError:
            return
        self._answer(self.machine.receive(data))

    def _answer(self, replies: list[bytes]) -> None:
        if self.behaviour.silent:
            return
        for reply in replies:
            self._replies.append(bytes((next(self._garbage),)) if self.behaviour.garbage else reply)
        if self._replies and self._reply_timer is None:
            self._next_reply()

    def _next_reply(self) -> None:
        """Send what is due; with ``slow`` set, one answer after each delay."""
        self._reply_timer = None
        while self._replies:
            if self.behaviour.slow:
                loop = asyncio.get_running_loop()
                self._reply_timer = loop.call_later(self.behaviour.slow, self._send_late, self._replies.popleft())
                return
            self._send(self._replies.popleft())

    def _send_late(self, reply: bytes) -> None:
        self._send(reply)
        self._next_reply()

    def _send(self, data: bytes) -> None:
        """Nobody may be reading: what the line cannot hold is lost, as on a real one."""
        sent = 0
        if self._master >= 0:
            with contextlib.suppress(BlockingIOError):
                sent = os.write(self._master, data)
        self.machine.counters["sent_bytes"] += sent
        self.machine.counters["lost_bytes"] += len(data) - sent


def run_emulator(argv: list[str]) -> int:
    """Command line. Runs until SIGTERM or SIGINT, then removes its files.

    Returns:
        0 after a stop, 1 when the paths cannot be used, 2 (by argparse, or for an unknown state) for wrong use.
    """
    parser = argparse.ArgumentParser(prog="pos-agent emulate printer", description="An ESC/POS printer behind a pty.")
    parser.add_argument("--port", type=Path, required=True, help="path of the port: a symbolic link to the pty")
    parser.add_argument("--control", type=Path, required=True, help="unix socket that takes commands")
    parser.add_argument("--state", default="", help="state to begin with: paper_end,cover_open,slow=0.5,…")
    arguments = parser.parse_args(argv)
    port, control = arguments.port.absolute(), arguments.control.absolute()
    return run_program("printer", PrinterEmulator(port, control), arguments.state, _explanation(port, control))


def _explanation(port: Path, control: Path) -> str:
    socat = f"socat - UNIX-CONNECT:{control}"
    return (
        f"printer emulator: port {port}, control {control}\n"
        f"  ask it:      printf '\\020\\004\\001' | socat -t1 - {port},raw,echo=0 | od -An -tx1\n"
        f'  paper out:   echo \'{{"set": {{"paper_end": true}}}}\' | {socat}\n'
        f'  unplug it:   echo \'{{"set": {{"unplugged": true}}}}\' | {socat}\n'
        f"  its counters: echo '{{\"get\": true}}' | {socat}"
    )
