"""A whole emulated machine under the supervisor, whose agent is killed at any of its journal points.

Units: the agent, a payment application that speaks, another service. The points are found by running.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.demo import evidence
from drivers.emulators.control import EmulatorControl
from tests.kit import orders
from tests.kit.agent_process import ROOT, AgentProcess, call
from tests.kit.emulator_process import EmulatedPrinter
from tests.kit.orders import OPERATOR, SECOND_OPERATOR, SUPPORT
from tests.kit.supervisor import SupervisorProcess, application

FINAL = {"succeeded", "failed", "rolled_back", "rejected", "expired", "cancelled"}
AGENT, SHOP, PRINTD = "pos-agent.service", "shop.service", "printd.service"
WAIT_S = 60.0
_REST_S = 0.15


class Steps:
    """Answers the agent at its journal points; counts them once armed, and kills it at the one that is chosen."""

    def __init__(self, path: Path) -> None:
        self.points: list[str] = []
        self.killed = threading.Event()
        self._kill_at = 0
        self._armed = False
        self._last_s = time.monotonic()
        self._lock = threading.Lock()
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._door.bind(str(path))
        self._door.listen()
        threading.Thread(target=self._welcome, daemon=True).start()

    def arm(self, kill_at: int) -> None:
        """Once the agent is at rest, count from 1 and kill it at the point ``kill_at`` (0: never)."""
        while time.monotonic() - self._last_s < _REST_S:
            time.sleep(0.02)
        with self._lock:
            self.points, self._kill_at, self._armed = [], kill_at, True
            self.killed.clear()

    def disarm(self) -> None:
        with self._lock:
            self._armed = False

    def close(self) -> None:
        self._door.close()

    def _welcome(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _address = self._door.accept()
                threading.Thread(target=self._accompany, args=(peer,), daemon=True).start()

    def _accompany(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer, peer.makefile("rb") as lines:
            for line in lines:
                pid, _, what = line.decode().rstrip("\n").partition(" ")
                if self._is_the_end(what):
                    os.kill(int(pid), signal.SIGKILL)
                    self.killed.set()
                    return
                peer.sendall(b"+")

    def _is_the_end(self, what: str) -> bool:
        with self._lock:
            self._last_s = time.monotonic()
            if not self._armed:
                return False
            self.points.append(what)
            if len(self.points) != self._kill_at:
                return False
            self._armed = False
            return True


class SteppedTerminal:
    """``with SteppedTerminal(folder) as terminal:`` is up, and its application has reported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "steps").mkdir(parents=True)
        self.steps = Steps(folder / "steps" / "sock")
        self.printer = EmulatedPrinter(folder)
        self.agent = AgentProcess(
            folder / "agent",
            {
                "paths": {
                    "state": str(folder / "agent/state"),
                    "run": str(folder / "agent/run"),
                    "procfs": str(folder / "machine/proc"),
                },
                "machine": {
                    "kind": "supervisor",
                    "socket": str(folder / "machine/run/machine.sock"),
                    "units": [PRINTD],
                },
                "application": [{"name": "shop", "unit": SHOP}],
                "devices": {"printer-0": {"driver": "escpos", "port": str(self.printer.port)}},
                "health": {"interval_s": 30.0},
            },
        )
        (folder / "agent" / "etc" / "policy.json").write_bytes(orders.signed_policy())
        agent_unit = {
            "name": AGENT,
            "argv": [sys.executable, "-m", "tests.crash.stepping_agent", "--config", str(self.agent.config_file)],
            "kind": "notify",
            "environment": {"PYTHONPATH": str(ROOT), "STEPS_SOCKET": str(folder / "steps" / "sock")},
            "restart_first_s": 0.05,
            "restart_limit_s": 0.05,
        }
        shop = {
            "name": SHOP,
            "argv": [sys.executable, str(ROOT / "tests/crash/speaking_app.py"), str(self.agent.run / "payment.sock")],
            "kind": "notify",
            "cache": ["cache/shop"],
        }
        units: list[dict[str, Any]] = [agent_unit, shop, application("printd")]
        self.machine = SupervisorProcess(folder / "machine", units, reboot_interval_s=0)

    def __enter__(self) -> SteppedTerminal:
        self.printer.__enter__()
        self.machine.start()
        self.at_rest()
        return self

    def __exit__(self, *_: object) -> None:
        self.steps.close()
        self.machine.close()
        self.printer.__exit__()

    @property
    def control(self) -> EmulatorControl:
        return self.printer.control

    def begin_anew(self) -> None:
        """The agent forgets everything it did: another journal. The machine and the devices keep their counts."""
        self.agent.state.rename(self.folder / "forgotten")
        os.kill(int(self.machine.ask(verb="state", unit=AGENT)["state"]["main_pid"]), signal.SIGKILL)
        shutil.rmtree(self.folder / "forgotten")
        self.at_rest()

    def at_rest(self) -> None:
        """Return once the agent answers and nothing holds an operation up: its application has reported."""
        deadline = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(OSError, AssertionError, TimeoutError):
                faults = call(self.agent.run / "control.sock", "health.get", timeout_s=2)["result"]["faults"]
                if not any(fault["code"] == "SW-APP-001" for fault in faults):
                    return
            assert time.monotonic() < deadline, f"the agent is not at rest:\n{self.log()}"
            time.sleep(0.02)

    def order(self, name: str, arguments: Mapping[str, Any], command_id: str, **fields: Any) -> bytes:
        """A signed order; whoever may."""
        payload = orders.order_payload(name, arguments, command_id=command_id, **fields)
        return orders.signed_order(payload, (OPERATOR, SECOND_OPERATOR, SUPPORT))

    def carry_in(self, envelope: bytes) -> None:
        """By hand, at the control socket; the agent may die meanwhile, and then nothing was promised."""

        with contextlib.suppress(OSError, AssertionError, TimeoutError):
            call(self.agent.run / "control.sock", "command.run", {"envelope": json.loads(envelope)}, timeout_s=3)

    def states(self) -> dict[str, str]:
        """command_id → state, as journalled; empty while the file cannot be read."""
        try:
            return evidence.command_states(self.agent.state / "agent.db")
        except Exception:  # the agent may be making it just now
            return {}

    def final_state(self, command_id: str, again: Sequence[bytes] = ()) -> str:
        """Wait for it; ``again`` are envelopes that are carried in again while the order is not journalled."""
        deadline = time.monotonic() + WAIT_S
        while (state := self.states().get(command_id, "none")) not in FINAL:
            assert time.monotonic() < deadline, f"{command_id} is {state}:\n{self.log()}"
            if state == "none":
                for envelope in again:
                    self.carry_in(envelope)
            time.sleep(0.02)
        return state

    def told(self, command_id: str) -> dict[str, Any]:
        """``command.get``, once the agent answers."""
        deadline = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(OSError, AssertionError, TimeoutError):
                answer = call(self.agent.run / "control.sock", "command.get", {"command_id": command_id}, timeout_s=2)
                found: dict[str, Any] = answer["result"]
                return found
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def acts(self, command_id: str) -> int:
        """How often the machine's keeper began an act for that order, by its own book."""
        return int(self.machine.ask(verb="counters")["counters"]["acts"].get(command_id, 0))

    def reboots(self) -> int:
        return int(self.machine.ask(verb="counters")["counters"]["reboots"])

    def log(self) -> str:
        file = self.folder / "machine" / "log" / f"{AGENT}.log"
        return file.read_text()[-4000:] if file.exists() else ""
