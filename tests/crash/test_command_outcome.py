"""A command happens once, wherever the agent dies: SIGKILL from outside at every journal point, found by running.

``held_agent.py`` stands still at one point; this kills it there, starts it again, and looks at the outcome with the
broker's, the emulator's and the database's own words.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from agent.demo import evidence
from agent.demo.parts import PrinterPart
from agent.runtime.identifiers import uuid7
from drivers.emulators.control import EmulatorControl
from tests.kit import orders
from tests.kit.agent_process import ROOT, AgentProcess, call
from tests.kit.broker import Broker

FINAL = {"succeeded", "failed", "rolled_back", "rejected", "expired", "cancelled"}
WAIT_S = 30.0
PREFIX = "pos/v1/shop-1/T-0001/"
ORDERS: dict[str, dict[str, Any]] = {
    "ping": {"name": "ping"},
    "check_device internal": {"name": "check_device", "arguments": {"device": "printer-0", "level": "internal"}},
    "check_device external": {"name": "check_device", "arguments": {"device": "printer-0", "level": "external"}},
}


@dataclass
class Place:
    """A broker, a printer, and an agent that can be held at a point."""

    broker: Broker
    witness: evidence.BrokerWitness
    printer: EmulatorControl
    agent: AgentProcess
    points: list[str] = field(default_factory=list)
    _listener: socket.socket | None = None

    def start(self, hold_at: int) -> None:
        """Start the agent, let it come to rest, then count journal points from 1 and hold at ``hold_at`` (0: never)."""
        address = f"pos-agent-points-{time.monotonic_ns()}"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listener.bind("\0" + address)
        self.agent.start(env={"POINTS_SOCKET": address, "HOLD_AT": str(hold_at)})
        self.witness.wait_retained(f"{PREFIX}agent/status", {"online": True})
        self.hear()
        while self._more_within(0.3):  # what a start itself writes is over
            self.hear()
        self.points = []
        assert self.agent.process is not None
        self.agent.process.send_signal(signal.SIGUSR1)

    def _more_within(self, timeout_s: float) -> bool:
        assert self._listener is not None
        return bool(select.select([self._listener], [], [], timeout_s)[0])

    def hear(self, timeout_s: float = 0.0) -> None:
        """Take in the points that were told."""
        assert self._listener is not None
        while select.select([self._listener], [], [], timeout_s)[0]:
            self.points.append(self._listener.recv(4096).decode())
            timeout_s = 0.0

    def kill(self) -> None:
        self.agent.kill()
        assert self._listener is not None
        self._listener.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("outcome")
    models = folder / "etc" / "models"
    models.mkdir(parents=True)
    (models / "countertop.toml").write_text((ROOT / "config" / "models" / "countertop.toml").read_text())
    printer = PrinterPart(folder)
    with Broker(folder) as broker:
        printer.start()
        agent = AgentProcess(
            folder,
            {
                "terminal": {"model": "countertop"},
                "uplink": {"host": broker.host, "port": broker.port, "tls": False, "backoff_limit_s": 0.5},
                "devices": {"printer-0": {"port": str(printer.port)}},
                "health": {"interval_s": 30.0},
            },
            program=["-m", "tests.crash.held_agent"],
        )
        (folder / "etc" / "policy.json").write_bytes(orders.signed_policy())
        try:
            yield Place(broker, evidence.BrokerWitness(broker.port), EmulatorControl(printer.control), agent)
        finally:
            agent.close()
            printer.stop()


def _order(place: Place, kind: str, command_id: str, door: str) -> None:
    wanted = ORDERS[kind]
    if door == "broker":
        payload = orders.order_payload(wanted["name"], wanted.get("arguments"), command_id=command_id)
        place.witness.publish(f"{PREFIX}in/req/{wanted['name']}", orders.signed_order(payload))
        return
    params = {"command_id": command_id, "arguments": {}, "reason": "test", **wanted}
    with contextlib.suppress(OSError, AssertionError, TimeoutError):  # the agent may stand still or die meanwhile
        call(place.agent.run / "control.sock", "command.run", params, timeout_s=2)


def _final_state(place: Place, command_id: str) -> str:
    deadline = time.monotonic() + WAIT_S
    while (state := evidence.command_states(place.agent.state / "agent.db").get(command_id, "none")) not in FINAL:
        assert time.monotonic() < deadline, f"{command_id} is {state}:\n{place.agent.log()[-3000:]}"
        time.sleep(0.01)
    return state


def _discover(place: Place, kind: str, door: str) -> list[str]:
    """The journal points of one whole run."""
    place.start(0)
    command_id = uuid7()
    _order(place, kind, command_id, door)
    assert _final_state(place, command_id) == "succeeded"
    place.witness.wait_retained(f"{PREFIX}agent/op/{ORDERS[kind]['name']}/{command_id}", {"state": "succeeded"})
    place.hear(0.3)
    assert place.agent.stop() == 0
    place.kill()
    return list(place.points)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kind", "door"), [*((kind, "broker") for kind in ORDERS), ("check_device external", "socket")]
)
def test_a_command_has_one_outcome_wherever_the_agent_dies(place: Place, kind: str, door: str) -> None:
    points = _discover(place, kind, door)
    assert len(points) >= 6, f"accepted, running and final, each before and after: {points}"
    name = ORDERS[kind]["name"]
    outcomes = []
    for number in range(1, len(points) + 1):
        command_id, slips = uuid7(), place.printer.get().counters["slips"]
        place.start(number)
        _order(place, kind, command_id, door)
        deadline = time.monotonic() + WAIT_S
        while not any(point.startswith(f"{number} ") for point in place.points):
            place.hear(0.1)
            assert time.monotonic() < deadline, f"point {number} of {points} was not reached: {place.points}"
        place.kill()
        was_journalled = command_id in evidence.command_states(place.agent.state / "agent.db")
        place.start(0)
        if door == "socket" and not was_journalled:
            _order(place, kind, command_id, door)  # nothing was promised yet: the caller asks again
        state = _final_state(place, command_id)
        place.witness.wait_retained(f"{PREFIX}agent/op/{name}/{command_id}", {"state": state})
        printed = place.printer.get().counters["slips"] - slips
        outcomes.append(f"{points[number - 1]}: {state}")
        if kind == "check_device external":
            assert state in {"succeeded", "failed"}
            assert printed == 1 if state == "succeeded" else printed <= 1, f"{printed} slips: {outcomes[-1]}"
        else:
            assert state == "succeeded", outcomes[-1]
        assert place.agent.stop() == 0
        place.kill()
    print(f"\n{kind} by {door}: killed at each of {len(points)} journal points", *outcomes, sep="\n  ")
