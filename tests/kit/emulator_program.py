"""A shipped emulator as a process of its own, as an integrator starts it, with its control socket."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from drivers.emulators.control import EmulatorControl

DEADLINE_S = 20.0


class EmulatorProgram:
    """Started at once; ``first_line`` is what it said then. Its control socket lies in ``folder``."""

    def __init__(self, name: str, folder: Path, *options: str) -> None:
        self.control_path = folder / f"{name}.control"
        command = [sys.executable, "-m", "drivers.emulators", name, "--control", str(self.control_path), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        self.control = EmulatorControl(self.control_path)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """The exit code."""
        self.process.send_signal(by)
        code = self.process.wait(DEADLINE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code
