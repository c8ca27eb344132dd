"""``pos-agent-keypad``: reads one keypad and tells three answers and a count. Standard library only.

Its output is the file of ``report_wire.py`` and nothing else: no key, name, order or time of pressing is printed, kept
or sent; it leaves no core and opens no socket. Counts come out in buckets of 60 s, answers on a grid of 10 s. It does
not grab the keypad: the payment application goes on reading it. A process of its own: ``pos-agent-keypad@.service``.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import resource
import select
import signal
import stat
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from drivers.pos_keyboard import evdev_wire, key_rules, report_wire
from drivers.pos_keyboard.key_report import KeyReport

BUCKET_S = 60.0
EXIT_FAILED, EXIT_USAGE = 1, 2
_READ_BYTES = evdev_wire.EVENT_BYTES * 64
_NO_CORE = 1  # bytes; zero would still let a core handler that is a program have it


class Unusable(Exception):
    """The node or the report's place cannot be used as things are; the message says why."""


class KeypadReader:
    """Reads ``node``, writes ``report``. Its own user can do nothing else.

    Args:
        scale: Lets time run faster; refused for anything but the FIFO of an emulator.
        monotonic, boottime: Clocks, in seconds.
    """

    def __init__(
        self,
        node: Path,
        report: Path,
        *,
        scale: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
        boottime: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._node = node
        self._report = report
        self._scale = scale
        self._monotonic = monotonic
        self._boottime = boottime
        self._descriptor = -1
        self._begun = b""  # first bytes of an event whose rest is still to come
        self._keys = key_rules.Keys()
        self._told_count = 0
        self._bucket_ends_s = self._now_s() + BUCKET_S
        self._report_due_s = self._now_s()
        self._last_trouble = ""

    def run(self) -> None:
        """For ever. Raises `Unusable` when waiting will not help."""
        while True:
            self.step()

    def step(self, longest_s: float = report_wire.EVERY_S) -> None:
        """Report when it is due, else wait for keys until then, or for so long."""
        left_s = self._report_due_s - self._now_s()
        if left_s <= 0:
            self._tell()
            return
        wait_s = min(left_s, longest_s) / self._scale
        if self._descriptor < 0:
            time.sleep(wait_s)
            return
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        if poller.poll(1000 * wait_s):
            self._take(self._read())

    def close(self) -> None:
        """Give the node back."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    # ── keys ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _open(self) -> None:
        try:
            descriptor = os.open(self._node, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as err:
            self._say(f"keypad_reader.not_open: {err.strerror}")
            return
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISFIFO(mode) and (not stat.S_ISCHR(mode) or self._scale != 1.0):
            os.close(descriptor)
            raise Unusable(f"{self._node}: is no input node, or time runs fast, which is for emulated keypads only")
        if stat.S_ISCHR(mode):
            try:
                fcntl.ioctl(descriptor, evdev_wire.EVIOCSCLOCKID, evdev_wire.CLOCK_MONOTONIC)
            except OSError as err:
                os.close(descriptor)
                raise Unusable(f"{self._node}: is no input node: {err.strerror}") from err
        self._descriptor, self._begun = descriptor, b""
        self._keys = key_rules.begin(self._held(), self._now_s(), press_count=self._keys.press_count)
        self._say("keypad_reader.open")

    def _read(self) -> bytes | None:
        """What has come; None when the keypad is gone."""
        try:
            return os.read(self._descriptor, _READ_BYTES) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    def _take(self, data: bytes | None) -> None:
        if data is None:
            self.close()
            self._keys = key_rules.Keys(press_count=self._keys.press_count)
            self._say("keypad_reader.gone")
            return
        now_s = self._now_s()
        events, self._begun = evdev_wire.cut(self._begun + data)
        for event in events:
            self._keys = key_rules.after(self._keys, event, now_s)
            if self._keys.must_reread:
                self._keys = key_rules.reread(self._keys, self._held(), now_s)

    def _held(self) -> frozenset[int] | None:
        """Codes of the keys that are down; None where the node does not tell, as a FIFO."""
        try:
            return evdev_wire.held_codes(
                fcntl.ioctl(self._descriptor, evdev_wire.EVIOCGKEY, bytes(evdev_wire.KEY_STATE_BYTES))
            )
        except OSError:
            return None

    # ── report ─────────────────────────────────────────────────────────────────────────────────────────────────
    def _tell(self) -> None:
        now_s = self._now_s()
        while self._report_due_s <= now_s:
            self._report_due_s += report_wire.EVERY_S
        if self._descriptor < 0:
            self._open()
        else:
            self._keys = key_rules.reread(self._keys, self._held(), now_s)
        if now_s >= self._bucket_ends_s:
            self._told_count = self._keys.press_count
            while self._bucket_ends_s <= now_s:
                self._bucket_ends_s += BUCKET_S
        readable = self._descriptor >= 0
        report = KeyReport(
            readable,
            key_rules.is_stuck(self._keys, now_s) if readable else None,
            key_rules.is_chattering(self._keys, now_s) if readable else None,
            self._told_count,
        )
        self._write(report_wire.encode(report, self._boottime()))

    def _write(self, content: bytes) -> None:
        beside = self._report.with_suffix(".new")
        try:
            with open(beside, "wb") as file:
                file.write(content)
            beside.replace(self._report)
        except OSError as err:
            raise Unusable(f"{self._report}: cannot be written: {err.strerror}") from err

    def _say(self, event: str) -> None:
        """To the journal, when it is another thing than the last one. Fixed words only."""
        if event != self._last_trouble:
            self._last_trouble = event
            sys.stderr.write(f"{event}\n")
            sys.stderr.flush()

    def _now_s(self) -> float:
        return self._monotonic() * self._scale


def main(argv: Sequence[str] | None = None) -> int:
    """Command line. Runs until it is killed.

    Returns:
        1 when the node or the report's place cannot be used, 2 (by argparse) for wrong use.
    """
    parser = argparse.ArgumentParser(prog="pos-agent-keypad", description="Counts keys, and never tells which.")
    parser.add_argument("--node", type=Path, required=True, help="the keypad's input node")
    parser.add_argument("--report", type=Path, required=True, help="file to keep up to date for the agent")
    parser.add_argument("--scale", type=float, default=1.0, help="time runs so much faster; emulated keypads only")
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.scale <= 1000:
        parser.error("--scale is a number from 1 to 1000")
    leave_no_core()
    os.umask(0o027)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        KeypadReader(arguments.node, arguments.report, scale=arguments.scale).run()
    except Unusable as err:
        sys.stderr.write(f"pos-agent-keypad: {err}\n")
    return EXIT_FAILED


def leave_no_core() -> None:
    """Whatever kills this process, its memory goes nowhere. Source: kernel ``fs/coredump.c``."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = _NO_CORE if hard == resource.RLIM_INFINITY or hard >= _NO_CORE else 0
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


if __name__ == "__main__":
    sys.exit(main())
