"""The reader of a keypad as its own process, and as an object whose clocks the test moves by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivers.pos_keyboard.evdev_wire import EV_KEY, EV_SYN, PRESSED, RELEASED, SYN_REPORT, Event, pack
from drivers.pos_keyboard.reader import KeypadReader

FAST = 200.0  # the reader's 60 s are 0.3 s then, its 10 s are 0.05 s
LONG_S = 20.0


@dataclass
class ReaderProcess:
    """``log`` is all it ever wrote to standard output and error."""

    process: subprocess.Popen[bytes]
    report_file: Path
    log: Path

    def report(self) -> dict[str, Any]:
        """The report as it is now; empty while there is none."""
        try:
            found: dict[str, Any] = json.loads(self.report_file.read_bytes())
        except FileNotFoundError:
            return {}
        return found

    def until(self, condition: Callable[[dict[str, Any]], object], timeout_s: float = LONG_S) -> dict[str, Any]:
        """The first report that fulfils ``condition``."""
        deadline = time.monotonic() + timeout_s
        while True:
            report = self.report()
            if report and condition(report):
                return report
            assert time.monotonic() < deadline, f"not within {timeout_s} s; the report is {report}"
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.01)


@contextmanager
def reader_process(node: Path, folder: Path, *, scale: float = FAST) -> Iterator[ReaderProcess]:
    """Runs until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    report, log = folder / "report.json", folder / "log"
    command = [sys.executable, "-m", "drivers.pos_keyboard.reader", "--node", str(node), "--report", str(report)]
    with log.open("ab") as output:
        process = subprocess.Popen([*command, "--scale", str(scale)], stdout=output, stderr=output)
    try:
        yield ReaderProcess(process, report, log)
    finally:
        process.kill()
        process.wait(LONG_S)


@dataclass
class ReaderByHand:
    """A FIFO that the test writes to and a reader that does one step when it is told. Times in seconds."""

    folder: Path
    now_s: float = 1000.0
    reader: KeypadReader = field(init=False)
    node: Path = field(init=False)
    report_file: Path = field(init=False)
    _descriptor: int = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.node, self.report_file = self.folder / "node", self.folder / "report.json"
        os.mkfifo(self.node)
        self._descriptor = os.open(self.node, os.O_RDWR | os.O_NONBLOCK)
        self.reader = KeypadReader(self.node, self.report_file, monotonic=self._now, boottime=self._now)

    def _now(self) -> float:
        return self.now_s

    def key(self, code: int, *, held_s: float = 0.1) -> None:
        """One press and release, read by the reader; time passes meanwhile."""
        self.send(Event(self.now_s, EV_KEY, code, PRESSED), Event(self.now_s, EV_SYN, SYN_REPORT, 0))
        self.now_s += held_s
        self.send(Event(self.now_s, EV_KEY, code, RELEASED), Event(self.now_s, EV_SYN, SYN_REPORT, 0))

    def send(self, *events: Event) -> None:
        """Let the reader read these."""
        self.write(b"".join(map(pack, events)))

    def write(self, data: bytes) -> None:
        os.write(self._descriptor, data)
        self.step()

    def step(self) -> None:
        """What is due now, and what has come."""
        for _report_then_keys in range(2):
            self.reader.step(0.0)

    def pass_time(self, seconds: float) -> None:
        """As the reader would live through it."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s = min(self.now_s + 1.0, end_s)
            self.step()

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.report_file.read_bytes())
        return found

    def close(self) -> None:
        self.reader.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
