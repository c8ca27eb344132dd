"""A real supervisor in a folder of its own, with children that leave a line behind at every start."""

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

from agent.machine.supervised import SupervisedMachine

ROOT = Path(__file__).parents[2]
START_S = 30.0
APPLICATION = """
import os, pathlib, signal, socket, sys
name = sys.argv[1]
pathlib.Path("cache", name).mkdir(parents=True, exist_ok=True)
with open(name + ".starts", "a") as starts:
    starts.write(f"{os.getpid()}\\n")
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", "\\0" + os.environ["NOTIFY_SOCKET"][1:])
signal.pause()
"""


def application(name: str, **more: Any) -> dict[str, Any]:
    """A unit whose process appends its id to ``<name>.starts``, says READY=1 and waits for ever."""
    return {"name": f"{name}.service", "argv": [sys.executable, "-c", APPLICATION, name], "kind": "notify", **more}


class SupervisorProcess:
    """``start``, ``stop``, ``kill``; the emulated machine's folder is ``folder``."""

    def __init__(self, folder: Path, units: Sequence[Mapping[str, Any]], **settings: Any) -> None:
        self.folder = folder
        self.socket = folder / "run/machine.sock"
        self.procfs = folder / "proc"
        self.config_file = folder / "supervisor.toml"
        self.log_file = folder / "supervisor.log"
        self.names = frozenset(str(unit["name"]) for unit in units)
        folder.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(tomli_w.dumps({"folder": str(folder), **settings, "unit": list(units)}))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        """Start it; with ``wait`` return once every unit was started."""
        address = f"\0pos-agent-test-supervisor-{os.getpid()}-{time.monotonic_ns()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(address)
            with self.log_file.open("ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "agent.supervisor", "--config", str(self.config_file)],
                    env={**os.environ, "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": "@" + address[1:]},
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            deadline = time.monotonic() + START_S
            while wait:
                assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log()}"
                assert time.monotonic() < deadline, f"no READY=1:\n{self.log()}"
                if select.select([notify], [], [], 0.2)[0] and b"READY=1" in notify.recv(4096):
                    return

    def stop(self) -> int:
        """SIGTERM, then the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def close(self) -> None:
        """End it if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def __enter__(self) -> SupervisorProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def machine(self, own_unit: str = "pos-agent.service") -> SupervisedMachine:
        """The agent's adapter for it."""
        return SupervisedMachine(self.socket, units=self.names, own_unit=own_unit, procfs=self.procfs)

    def ask(self, **request: Any) -> dict[str, Any]:
        """One line to its socket, one line back."""
        return self.ask_raw(json.dumps(request).encode() + b"\n")

    def ask_raw(self, line: bytes) -> dict[str, Any]:
        """As `ask`, with the bytes as they are."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(30)
            sock.connect(str(self.socket))
            sock.sendall(line)
            answer: dict[str, Any] = json.loads(sock.makefile("rb").readline() or b'{"closed": true}')
            return answer

    def starts(self, name: str) -> list[int]:
        """The process ids that an `application` had so far, first to last."""
        file = self.folder / f"{name}.starts"
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    def boot_id(self) -> str:
        """Of the emulated machine now."""
        return (self.procfs / "sys/kernel/random/boot_id").read_text().strip()

    def log(self) -> str:
        """Everything it logged."""
        return self.log_file.read_text() if self.log_file.exists() else ""


def is_running(pid: int) -> bool:
    """True while the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
