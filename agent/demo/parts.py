"""The processes of the demo: Mosquitto, the emulators, the supervisor. Started, awaited, stopped by their own ids."""

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
from typing import Any

START_S = 30.0
STOP_S = 20.0


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


def ask(control: Path, request: dict[str, object]) -> dict[str, Any]:
    """One line of JSON to a control socket, one line back.

    Raises:
        DemoFailed: Nobody answers there.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(30)
            sock.connect(str(control))
            sock.sendall(json.dumps(request).encode() + b"\n")
            answer = sock.makefile("rb").readline()
        found: dict[str, Any] = json.loads(answer)
    except (OSError, ValueError) as err:
        raise DemoFailed(f"{control} does not answer: {err}") from err
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


class EmulatorPart(Part):
    """One shipped emulator with its control socket.

    Args:
        kind: As ``pos-agent emulate`` takes it.
        makes: A file that is there once it works.
    """

    def __init__(self, folder: Path, name: str, kind: str, options: Sequence[str], makes: Path) -> None:
        super().__init__(name, folder / f"{name}.log")
        self.control = folder / f"{name}.control"
        self._command = [sys.executable, "-m", "drivers.emulators", kind, *options, "--control", str(self.control)]
        self._makes = makes

    def start(self) -> None:
        self.launch(self._command)
        wait_until(
            f"the emulator {self.name} (log: {self.log_file})",
            lambda: os.path.lexists(self._makes) and self.control.exists(),
        )

    def ask(self, request: dict[str, object]) -> dict[str, Any]:
        """One line of JSON to the emulator's control socket, one line back: its state and its counters."""
        return ask(self.control, request)

    def set(self, **state: object) -> dict[str, Any]:
        """Change its state; raises `DemoFailed` when it does not know it."""
        answer = self.ask({"set": state})
        if not answer.get("ok"):
            raise DemoFailed(f"{self.name}: {answer.get('error')}")
        return answer


class PrinterPart(EmulatorPart):
    """The ESC/POS emulator behind a pseudo-terminal at ``port``."""

    def __init__(self, folder: Path) -> None:
        self.port = folder / "printer-0"
        super().__init__(folder, "printer", "printer", ["--port", str(self.port)], makes=self.port)


class CollectorPart(Part):
    """The operator's side of the upload: ``posctl fleet collect`` with a store of its own, away from the terminal."""

    def __init__(self, folder: Path, site: str, key_file: Path) -> None:
        super().__init__("collector", folder / "collector.log")
        self.store = folder / "collector" / "journals.db"
        self._site, self._key_file = site, key_file

    def start(self, broker_port: int) -> None:
        self.store.parent.mkdir(exist_ok=True)
        seen = self.log_file.stat().st_size if self.log_file.exists() else 0
        where = ["--broker", f"127.0.0.1:{broker_port}", "--site", self._site, "--store", str(self.store)]
        command = [sys.executable, "-m", "agent.ctl", "fleet", "collect", *where, "--key", str(self._key_file)]
        self.launch([*command, "--json"])
        wait_until(f"the collector (log: {self.log_file})", lambda: self._collects(seen))

    def _collects(self, seen: int) -> bool:
        said = self.log_file.read_bytes()[seen:].decode(errors="replace")
        if not self.running:
            raise DemoFailed(f"the collector ended: {said.strip()}")
        return '"collecting"' in said


class SupervisorPart(Part):
    """The process supervisor: keeps the terminal's own programs as systemd would, below the demo's folder alone."""

    def __init__(self, folder: Path, config_file: Path, control: Path) -> None:
        super().__init__("supervisor", folder / "supervisor.log")
        self.control = control
        self._config_file = config_file

    def start(self) -> None:
        address = f"\0pos-agent-demo-{os.getpid()}-{time.monotonic_ns()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(address)
            command = [sys.executable, "-m", "agent.supervisor", "--config", str(self._config_file)]
            self.launch(command, env={**os.environ, "NOTIFY_SOCKET": "@" + address[1:]})
            wait_until(f"all units (log: {self.log_file})", lambda: self._heard(notify))

    def _heard(self, notify: socket.socket) -> bool:
        if not self.running:
            raise DemoFailed(f"the supervisor ended; log: {self.log_file}")
        return bool(select.select([notify], [], [], 0.1)[0]) and b"READY=1" in notify.recv(4096)

    def counters(self) -> dict[str, Any]:
        """``units``: name → starts, watchdog, emptied; ``acts``: order → times begun; ``reboots``."""
        found: dict[str, Any] = ask(self.control, {"verb": "counters"})["counters"]
        return {**found, "units": {unit["unit"]: unit for unit in found["units"]}}

    def last_exit_code(self, unit: str) -> int | None:
        """With what the unit's last process ended, by the supervisor's log."""
        for line in reversed(self.log_file.read_text().splitlines()):
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "unit.ended" and event.get("unit") == unit:
                return int(event["exit_code"])
        return None


class UnitView:
    """One unit that the supervisor keeps, seen from outside."""

    def __init__(self, supervisor: SupervisorPart, name: str, log_file: Path) -> None:
        self.name = name
        self.log_file = log_file
        self._supervisor = supervisor

    @property
    def state(self) -> dict[str, Any]:
        """``active``, ``main_pid``, ``invocation``; an empty one while nobody can say."""
        try:
            found: dict[str, Any] = ask(self._supervisor.control, {"verb": "state", "unit": self.name})["state"]
        except (DemoFailed, KeyError):
            return {}
        return found

    @property
    def pid(self) -> int:
        pid = self.state.get("main_pid")
        if pid is None:
            raise DemoFailed(f"{self.name} does not run; log: {self.log_file}")
        return int(pid)

    @property
    def starts(self) -> int:
        """How often it was started since the supervisor was."""
        return int(self._supervisor.counters()["units"][self.name]["starts"])

    def kill(self) -> None:
        """SIGKILL, as a power cut does to a process; the supervisor starts it again."""
        os.kill(self.pid, signal.SIGKILL)

    def await_another(self, invocation: str) -> None:
        """Return once it runs anew: active, and not as ``invocation``."""

        def runs_anew() -> bool:
            state = self.state
            return state.get("active") == "active" and state.get("invocation") != invocation

        wait_until(f"{self.name} to be started again (log: {self.log_file})", runs_anew)

    def imported(self) -> set[str]:
        """Every module its processes have imported so far, as their interpreter wrote it to standard error."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
