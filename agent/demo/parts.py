"""The processes of the demo: Mosquitto, the emulators, the agent. Started, awaited, stopped by their own ids."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

START_S = 30.0
STOP_S = 15.0


class DemoFailed(Exception):
    """A part did not do what it must; the message says which and where its log is."""


def wait_until(what: str, condition: Callable[[], bool], timeout_s: float = START_S) -> None:
    """Return once ``condition`` holds.

    Raises:
        DemoFailed: It did not within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise DemoFailed(f"waited {timeout_s:g} s for: {what}")
        time.sleep(0.02)


def free_port() -> int:
    """A loopback TCP port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _ask(control: Path, request: dict[str, object]) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(str(control))
        sock.sendall(json.dumps(request).encode() + b"\n")
        answer = sock.makefile("rb").readline()
    found: dict[str, object] = json.loads(answer)
    return found


class Part:
    """One process with its log file."""

    def __init__(self, name: str, log_file: Path) -> None:
        self.name = name
        self.log_file = log_file
        self.process: subprocess.Popen[bytes] | None = None

    def launch(self, command: Sequence[str], env: dict[str, str] | None = None) -> None:
        """Start it in a session of its own, so that Ctrl-C in the terminal is ours to hand on."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True
            )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        if self.process is None:
            raise DemoFailed(f"{self.name} was not started")
        return self.process.pid

    def stop(self) -> int:
        """SIGTERM and the exit code; SIGKILL when it does not end in time, which is a failure of the part."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired as err:
            self.kill()
            raise DemoFailed(f"{self.name} did not stop within {STOP_S:g} s; log: {self.log_file}") from err

    def kill(self) -> None:
        """SIGKILL, as a power cut does."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait(STOP_S)


class BrokerPart(Part):
    """A real Mosquitto on one loopback port; its retained messages and sessions survive its restart."""

    def __init__(self, folder: Path) -> None:
        super().__init__("broker", folder / "mosquitto.log")
        self.port = free_port()
        self._folder = folder / "mosquitto"
        self._program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")

    def start(self) -> None:
        if self._program is None:
            raise DemoFailed("mosquitto is not installed; `make run` installs it, or: apt-get install mosquitto")
        self._folder.mkdir(exist_ok=True)
        config = self._folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\npersistence true\n"
            f"persistence_location {self._folder}/\nautosave_on_changes true\nautosave_interval 1\n"
            + ("user root\n" if os.getuid() == 0 else "")
        )
        self.launch([self._program, "-c", str(config)])
        wait_until(f"Mosquitto on port {self.port} (log: {self.log_file})", self._answers)

    def _answers(self) -> bool:
        if not self.running:
            raise DemoFailed(f"Mosquitto ended; log: {self.log_file}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


class PrinterPart(Part):
    """The ESC/POS emulator behind a pseudo-terminal, with its own counters."""

    def __init__(self, folder: Path) -> None:
        super().__init__("printer", folder / "printer.log")
        self.port = folder / "printer-0"
        self.control = folder / "printer-0.control"

    def start(self) -> None:
        self.launch(
            [
                sys.executable,
                "-m",
                "drivers.emulators",
                "printer",
                "--port",
                str(self.port),
                "--control",
                str(self.control),
            ]
        )
        wait_until(f"the printer emulator (log: {self.log_file})", lambda: self.port.exists() and self.control.exists())

    def ask(self, request: dict[str, object]) -> dict[str, object]:
        """One line of JSON to the emulator's control socket, one line back: its state and its counters."""
        return _ask(self.control, request)


class BoardPart(Part):
    """The emulated board: /proc, /sys and /dev of a terminal in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__("board", folder / "board.log")
        self.folder = folder / "board"
        self.control = folder / "board.control"

    def start(self) -> None:
        command = [sys.executable, "-m", "drivers.emulators", "board"]
        self.launch([*command, "--folder", str(self.folder), "--control", str(self.control)])
        made = self.folder / "dev/input"
        wait_until(f"the board emulator (log: {self.log_file})", lambda: made.exists() and self.control.exists())

    def ask(self, request: dict[str, object]) -> dict[str, object]:
        """As `PrinterPart.ask`."""
        return _ask(self.control, request)


class AgentPart(Part):
    """The agent, started as systemd would: it tells READY=1 on a notification socket."""

    def __init__(self, folder: Path, config_file: Path, *, trace_imports: bool) -> None:
        super().__init__("agent", folder / "agent.log")
        self._options = ["-X", "importtime"] if trace_imports else []
        self._folder = folder
        self._config_file = config_file
        self.notifications: list[str] = []

    def start(self) -> None:
        address = f"\0pos-agent-demo-{os.getpid()}-{time.monotonic_ns()}"
        self.notifications = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(address)
            self.launch(
                [
                    sys.executable,
                    "-OO",
                    *self._options,
                    "-m",
                    "agent.demo.daemon",
                    str(self._config_file),
                    str(self._folder),
                ],
                env={**os.environ, "NOTIFY_SOCKET": "@" + address[1:]},
            )
            wait_until(f"the agent's READY=1 (log: {self.log_file})", lambda: self._heard(notify, "READY=1"))

    def _heard(self, notify: socket.socket, line: str) -> bool:
        if not self.running:
            raise DemoFailed(f"the agent ended with {self.process and self.process.returncode}; log: {self.log_file}")
        if select.select([notify], [], [], 0.1)[0]:
            self.notifications += notify.recv(4096).decode().split("\n")
        return line in self.notifications

    def imported(self) -> set[str]:
        """Every module the process has imported so far, as its interpreter wrote it to standard error."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
