"""The shipped printer emulator as a process of its own: the agent reaches it by its port alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from drivers.emulators.control import ControlError, EmulatorControl
from tests.kit.agent_process import ROOT


class PrinterProcess:
    """``control`` switches its faults; the port appears once it is up."""

    def __init__(self, folder: Path, name: str = "printer") -> None:
        self.port = folder / name
        self.control = EmulatorControl(folder / f"{name}.sock")
        command = [sys.executable, "-m", "drivers.emulators", "printer", "--port", str(self.port)]
        command += ["--control", str(folder / f"{name}.sock")]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def is_up(self) -> bool:
        try:
            self.control.get()
        except ControlError:
            return False
        return self.port.exists()

    def counters(self) -> dict[str, int]:
        return self.control.get().counters

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
