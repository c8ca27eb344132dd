"""A real agent in a folder of its own: configuration written, process started, READY awaited as systemd would."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

ROOT = Path(__file__).parents[2]
START_S = 30.0


class AgentProcess:
    """``start``, ``stop``, ``kill``; everything it owns is below ``folder``."""

    def __init__(self, folder: Path, config: Mapping[str, Any] | None = None, *, program: Sequence[str] = ()) -> None:
        self.folder = folder
        self.config_file = folder / "etc" / "agent.toml"
        self.state = folder / "state"
        self.run = folder / "run"
        self.log_file = folder / "agent.log"
        self._program = list(program) or ["-m", "agent", "run"]
        self.config_file.parent.mkdir(parents=True, exist_ok=True)
        self.write_config(config or {})
        self.process: subprocess.Popen[bytes] | None = None
        self.notifications: list[str] = []
        self._notify: socket.socket | None = None

    def write_config(self, changes: Mapping[str, Any]) -> None:
        """Write a whole configuration: a working one with ``changes`` laid over it, table by table."""
        table: dict[str, Any] = {
            "mode": "development",
            "terminal": {"site": "shop-1", "terminal": "T-0001", "serial": "SN123"},
            "binding": [{"provider": "acquirer-a", "mid": "104110058120001", "tid": "00010001"}],
            "paths": {"state": str(self.state), "run": str(self.run)},
            "clock": {"trust": "assume"},
            "trust": {"policy": str(self.folder / "etc" / "policy.json")},
        }
        for key, value in changes.items():
            table[key] = {**table[key], **value} if isinstance(value, dict) and key in table else value
        self.config_file.write_text(tomli_w.dumps(table))

    def start(
        self, *, wait: bool = True, env: Mapping[str, str] | None = None, watchdog_s: float | None = None
    ) -> None:
        """Start the process; with ``wait`` return when it said READY=1."""
        address = f"\0pos-agent-test-{os.getpid()}-{id(self)}-{time.monotonic_ns()}"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(address)
        self.notifications = []
        # Bytecode is written as on a terminal: without it the agent starts slower and stays larger.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment = {**inherited, "NOTIFY_SOCKET": "@" + address[1:], "PYTHONPATH": str(ROOT), **(env or {})}
        if watchdog_s is not None:
            environment["WATCHDOG_USEC"] = str(int(watchdog_s * 1_000_000))
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self._program, "--config", str(self.config_file)],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait_notified("READY=1")

    def wait_notified(self, line: str, timeout_s: float = START_S) -> None:
        """Return once a notification with ``line`` came; it may have come before."""
        assert self._notify is not None
        deadline = time.monotonic() + timeout_s
        while line not in self.notifications:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the agent ended with {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"no {line} within {timeout_s} s; got {self.notifications}:\n{self.log()}")
            if select.select([self._notify], [], [], 0.2)[0]:
                self.notifications += self._notify.recv(4096).decode().split("\n")

    def wait_notified_like(self, start: str, part: str, timeout_s: float = START_S) -> None:
        """Return once a notification begins with ``start`` and names ``part``."""
        deadline = time.monotonic() + timeout_s
        while not any(line.startswith(start) and part in line for line in self.notifications):
            assert time.monotonic() < deadline, f"nothing like {start}…{part}: {self.notifications[-5:]}\n{self.log()}"
            self.collect_notifications(0.1)

    def drain_notifications(self) -> None:
        """Forget what came so far."""
        self.collect_notifications(0.0)
        self.notifications = []

    def collect_notifications(self, for_s: float) -> None:
        """Take in what comes within ``for_s`` seconds."""
        assert self._notify is not None
        deadline = time.monotonic() + for_s
        while select.select([self._notify], [], [], max(0.0, deadline - time.monotonic()))[0]:
            self.notifications += self._notify.recv(4096).decode().split("\n")
            if time.monotonic() > deadline and for_s > 0:
                return

    def stop(self, timeout_s: float = 20.0) -> int:
        """SIGTERM, then the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._ended(timeout_s)

    def kill(self) -> None:
        """SIGKILL, as a power cut does to a process."""
        assert self.process is not None
        self.process.kill()
        self._ended(20.0)

    def _ended(self, timeout_s: float) -> int:
        assert self.process is not None
        code = self.process.wait(timeout_s)
        if self._notify is not None:
            self._notify.close()
            self._notify = None
        return code

    def log(self) -> str:
        """All log lines so far."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log events of one name."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]

    def __enter__(self) -> AgentProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self._ended(20.0)


def call(
    path: Path, method: str, params: Mapping[str, Any] | None = None, *, timeout_s: float = 10.0
) -> dict[str, Any]:
    """One JSON-RPC call on a fresh connection, as a stranger with ``socat`` would make it; the whole answer."""
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": dict(params or {})}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        sock.connect(str(path))
        sock.sendall(json.dumps(request).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            part = sock.recv(65536)
            assert part, f"closed after {answer!r}"
            answer += part
    result: dict[str, Any] = json.loads(answer)
    return result
