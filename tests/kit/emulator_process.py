"""The shipped printer emulator as a process of its own, as integrators run it; set by its control socket."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from drivers.emulators.control import ControlError, EmulatorControl
from tests.kit.agent_process import ROOT

START_S = 15.0


class EmulatedPrinter:
    """``with EmulatedPrinter(folder) as printer:`` has a ``port`` and a ``control``."""

    def __init__(self, folder: Path, name: str = "printer") -> None:
        self.port = folder / name
        self.control = EmulatorControl(folder / f"{name}.sock")
        self._command = [sys.executable, "-m", "drivers.emulators", "printer", "--port", str(self.port)]
        self._command += ["--control", str(folder / f"{name}.sock")]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> EmulatedPrinter:
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while not self._is_up():
            assert time.monotonic() < deadline, "the emulator did not start"
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)

    def _is_up(self) -> bool:
        try:
            self.control.get()
        except ControlError:
            return False
        return self.port.exists()
