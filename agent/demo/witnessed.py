"""What every step of the tour is given: the terminal, its witnesses, and the operator's and the technician's tools."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from agent.demo import evidence
from agent.demo.parts import DemoFailed, wait_until
from agent.demo.terminal import SITE, TERMINAL, DemoTerminal

FORBIDDEN_MODULES = frozenset(
    ("pip", "click", "rich", "pydantic", "urllib3", "http.client", "email", "cryptography", "tuf", "sqlite_utils")
)


@dataclass
class Tour:
    """The terminal and its witnesses, and what was learnt on the way."""

    terminal: DemoTerminal
    broker: evidence.BrokerWitness

    def posctl(self, *arguments: str, expect: int = 0) -> str:
        """Run ``posctl`` as a technician would; its output.

        Raises:
            DemoFailed: Another exit code than ``expect``.
        """
        command = [sys.executable, "-m", "agent.ctl", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        if done.returncode != expect:
            text = (done.stdout + done.stderr).strip()
            raise DemoFailed(f"posctl {' '.join(arguments)}: exit {done.returncode}, expected {expect}: {text}")
        self.check_imports()
        return done.stdout

    def send(self, command_id: str, name: str, *arguments: str, expect: int = 0, wait_s: int = 60) -> None:
        """A signed order through the broker, awaited to its final state unless ``wait_s`` is 0."""
        broker = f"127.0.0.1:{self.terminal.broker.port}"
        where = ["--broker", broker, "--site", SITE, "--terminal", TERMINAL, "--key", str(self.terminal.key_file)]
        waited = ["--wait", f"{wait_s}s"] if wait_s else []
        order = ["--command-id", command_id, *waited, name, *arguments]
        self.posctl("fleet", "send", *where, *order, expect=expect)

    def check_imports(self) -> None:
        """The running daemon, by its interpreter's own account, has loaded nothing that does not belong there."""
        if importlib.util.find_spec("rich") is not None:
            raise DemoFailed("rich is installed beside the daemon: structlog would load it, 5 MB for ever")
        tried = {name for name in self.terminal.agent.imported() if _is_forbidden(name)}
        found = {name for name in tried if importlib.util.find_spec(name.partition(".")[0]) is not None}
        if found:  # what is not installed was only asked for, by a library that can do without
            raise DemoFailed(f"the daemon imported {sorted(found)}")

    def printer(self, **state: object) -> dict[str, Any]:
        """Change the emulator's state; its answer: state and counters."""
        return self.terminal.printer.set(**state) if state else self.terminal.printer.ask({"get": True})

    def printed(self, counter: str) -> int:
        """One of the printer emulator's own counters."""
        return int(self.printer()["counters"][counter])

    def await_health(self, device: str, timeout_s: float = 30.0, **wanted: object) -> None:
        """Return once the broker's retained health of ``device`` holds all of ``wanted``."""
        self.broker.wait_retained(f"{self.terminal.prefix}dev/{device}/health", wanted, timeout_s)

    def await_ready(self, ready: bool) -> None:
        """Return once the broker's retained readiness says so."""
        self.broker.wait_retained(f"{self.terminal.prefix}agent/readiness", {"ready": ready})

    def await_order(self, name: str, command_id: str, timeout_s: float = 60.0, **wanted: object) -> dict[str, Any]:
        """Return the order's retained state message once it holds all of ``wanted``."""
        return self.broker.wait_retained(f"{self.terminal.prefix}agent/op/{name}/{command_id}", wanted, timeout_s)

    def must_have_fault(self, code: str) -> None:
        """The broker's list of faults names ``code``; raises `DemoFailed`."""
        topic = f"{self.terminal.prefix}agent/faults"
        wait_until(f"{code} in {topic}", lambda: code in json.dumps(self.broker.retained(topic)))

    def must_not_have_fault(self, code: str) -> None:
        """Return once the broker's list of faults does not name ``code``; raises `DemoFailed`."""
        topic = f"{self.terminal.prefix}agent/faults"

        def is_over() -> bool:
            faults = self.broker.retained(topic)
            return bool(faults) and code not in json.dumps(faults)

        wait_until(f"no {code} in {topic}", is_over)

    def all_acknowledged_are_there(self) -> int:
        """Whatever either shop was told is durable stands in the SQLite file; how many that is."""
        stored = {(entry.transaction_id, entry.sequence) for entry in evidence.entries(self.terminal.database)}
        told = {*self.terminal.shop.acknowledged, *self.terminal.acknowledged_by_shop()}
        if missing := told - stored:
            raise DemoFailed(f"{len(missing)} acknowledged records are missing: {sorted(missing)[:3]}")
        return len(told)


def _is_forbidden(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in FORBIDDEN_MODULES)
