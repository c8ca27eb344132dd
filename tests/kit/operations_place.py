"""A terminal for walks along operations: broker, printer emulator, keeper of units, an application that speaks.

Spoken to by topics and sockets alone; the effects are counted by the emulator and the keeper.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kit.agent_process import ROOT
from tests.kit.broker import Broker, subscribe
from tests.kit.contract_peer import Peer
from tests.kit.contract_walk import (
    EVERYTHING,
    STATE_FIELDS,
    Terminal,
    online,
    order,
    outcome,
)
from tests.kit.emulator_process import EmulatedPrinter
from tests.kit.orders import OPERATOR, SECOND_OPERATOR, Signer, order_payload, signed_policy
from tests.kit.supervisor import SupervisorProcess, application

SHOP, PRINTD = "shop.service", "printd.service"
DEVICE = {"level": "device", "device": "printer-0"}
ONE, BOTH = (OPERATOR,), (OPERATOR, SECOND_OPERATOR)
SPEAKS_ONCE = """
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode() + b"\\n")
print(s.makefile().readline())
"""


@dataclass
class Place:
    """What a test needs of it; counters by others' count."""

    broker: Broker
    printer: EmulatedPrinter
    machine: SupervisorProcess
    terminal: Terminal

    def peer(self) -> Peer:
        return Peer(self.terminal.payment)

    def counter(self, name: str) -> int:
        return self.printer.control.get().counters[name]

    def acts(self, command_id: str) -> int:
        return int(self.machine.ask(verb="counters")["counters"]["acts"].get(command_id, 0))

    def an_application_says(self, **counts: int) -> None:
        """Some application that nobody configured gives its status, and is gone."""
        status = {"ready": True, "signed_in": True, "batch_no": None}
        numbers = {"pending_reversals": 0, "unknown_results": 0, "saf_count": 0, **counts}
        request = {"jsonrpc": "2.0", "id": 1, "method": "app.status", "params": {**status, **numbers}}
        command = [sys.executable, "-c", SPEAKS_ONCE, str(self.terminal.payment), json.dumps(request)]
        answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert answer["result"] == {}


@contextmanager
def open_place(folder: Path) -> Iterator[Place]:
    """All of it below ``folder``, the agent online."""
    (folder / "b").mkdir()
    agent_run = folder / "a" / "run"
    shop = {
        "name": SHOP,
        "argv": [sys.executable, str(ROOT / "tests/crash/speaking_app.py"), str(agent_run / "payment.sock")],
        "kind": "notify",
        "cache": ["cache/shop"],
    }
    units: list[dict[str, Any]] = [shop, application("printd")]
    with (
        Broker(folder / "b") as broker,
        EmulatedPrinter(folder) as printer,
        SupervisorProcess(folder / "m", units) as machine,
    ):
        config = {
            "paths": {
                "state": str(folder / "a/state"),
                "run": str(agent_run),
                "procfs": str(machine.procfs),
            },
            "machine": {"kind": "supervisor", "socket": str(machine.socket), "units": [PRINTD]},
            "application": [{"name": "shop", "unit": SHOP}],
            "devices": {"printer-0": {"port": str(printer.port)}},
            "terminal": {"model": "countertop"},
        }
        models = {"countertop": (ROOT / "config/models/countertop.toml").read_text()}
        terminal = Terminal(folder / "a", broker.port, config, policy=signed_policy(), models=models)
        with terminal.agent:
            asyncio.run(online(broker))
            yield Place(broker, printer, machine, terminal)


async def ordered(
    place: Place, name: str, arguments: Mapping[str, Any], signers: Sequence[Signer] = ONE, **fields: Any
) -> dict[str, Any]:
    """Order it by MQTT; the final state, which is checked for its form."""
    payload = order_payload(name, arguments, **fields)
    async with subscribe(place.broker, EVERYTHING) as watcher:
        command_id = await order(watcher, payload, signers)
        final = await outcome(watcher, name, command_id, timeout_s=40.0)
    assert sorted(final) == sorted(STATE_FIELDS)
    return final


def why(state: Mapping[str, Any]) -> tuple[str, str | None]:
    """State and code of the reason."""
    return state["state"], state["reason"] and state["reason"]["code"]
