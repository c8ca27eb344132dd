"""The published documents against a running agent: every message and every answer is of the form that they say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from drivers.emulators.control import EmulatorControl
from tests.kit import orders
from tests.kit.broker import Broker, Seen, subscribe
from tests.kit.contract_peer import Peer, record_of, sale
from tests.kit.contract_walk import BASE, EVERYTHING, SITE, TERMINAL, Terminal, online, order, outcome, settled
from tests.kit.documents import call_problems, document, message_problems
from tests.kit.emulator_process import EmulatedPrinter

MODEL = """
schema = 1
title = "Does not sell without its printer"
[devices.printer-0]
category = "pos_printer"
driver = "escpos"
sensors = ["near_end", "paper_end", "cover"]
answers = true
required = true
"""


class Station:
    """A terminal with a printer, its broker, and everything that it published."""

    def __init__(self, broker: Broker, terminal: Terminal, printer: EmulatorControl) -> None:
        self.broker = broker
        self.terminal = terminal
        self.printer = printer


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    folder = tmp_path_factory.mktemp("documents")
    with Broker(folder) as broker, EmulatedPrinter(folder) as printer:
        config = {
            "terminal": {"site": SITE, "terminal": TERMINAL, "serial": "SN123", "model": "counter"},
            "devices": {"printer-0": {"port": str(printer.port)}},
        }
        policy = orders.signed_policy()
        terminal = Terminal(folder / "terminal", broker.port, config, policy=policy, models={"counter": MODEL})
        with terminal.agent:
            asyncio.run(online(broker))
            yield Station(broker, terminal, printer.control)


def _below(messages: list[Seen]) -> set[str]:
    return {message.topic.removeprefix(BASE) for message in messages}


def _raised(messages: list[Seen], code: str, *, active: bool) -> bool:
    events = [json.loads(one.payload)["data"] for one in messages if one.topic == f"{BASE}agent/e/fault"]
    return any((event["code"], event["active"]) == (code, active) for event in events)


async def test_everything_published_is_of_its_channels_form(station: Station) -> None:
    """Truth, metrics, a device's faults come and gone, orders of every fate, security events, an orderly stop."""
    agent = station.terminal.agent
    async with subscribe(station.broker, EVERYTHING) as watcher:
        await settled(watcher)
        station.printer.set(paper_end=True)
        await watcher.until(lambda seen: _raised(seen, "HW-PRN-002", active=True))
        station.printer.set(paper_end=False)
        await watcher.until(lambda seen: _raised(seen, "HW-PRN-002", active=False))
        check = orders.order_payload("check_device", {"device": "printer-0", "level": "internal"})
        wrong = orders.order_payload("check_device", {"device": "nothing", "level": "internal"})
        late = orders.order_payload("ping", expires_at="2020-01-01T00:00:00Z")
        for payload in (check, wrong, late):
            await order(watcher, payload)
            await outcome(watcher, payload["name"], payload["command_id"])
        await watcher.publish(f"{BASE}in/req/ping", orders.signed_order(signers=(orders.STRANGER,)))
        await watcher.until(lambda seen: "agent/e/security" in _below(seen))
        await watcher.until(lambda seen: {"agent/m/host", "agent/m/store", "agent/m/agent"} <= _below(seen))
        assert await asyncio.to_thread(agent.stop) == 0
        await watcher.until(lambda seen: any(b'"online":false' in one.payload for one in seen))
        await asyncio.to_thread(agent.start)
        seen = list(watcher.messages)
    wrongs = [
        problem
        for one in seen
        for problem in message_problems(one.topic, one.payload, qos=one.qos, retained=one.retained)
    ]
    assert not wrongs
    covered = {topic.rpartition("/")[0] if topic.startswith("agent/m/") else topic for topic in _below(seen)}
    assert {"agent/status", "agent/birth", "agent/readiness", "agent/faults", "agent/cfg", "agent/m"} <= covered
    assert {"dev/printer-0/health", "agent/e/fault", "agent/e/security"} <= covered


@pytest.mark.parametrize(
    ("below", "payload"),
    [
        ("agent/readiness", b'{"ready":"yes","reasons":[],"at":"2026-11-21T02:00:00.000Z"}'),
        ("agent/status", b'{"online":true}'),
        ("agent/faults", b""),
        ("agent/nothing", b"{}"),
    ],
)
def test_the_comparison_finds_what_is_wrong(below: str, payload: bytes) -> None:
    assert message_problems(BASE + below, payload, qos=1, retained=True)


Call = tuple[str, str, dict[str, Any]]


def _exercise() -> Generator[Call, dict[str, Any], None]:
    """Calls of every kind: (socket, method, params); it is sent each answer."""
    first, conflicting = sale(), sale(memo="first")
    known = str(first["transaction_id"])
    yield "payment", "transaction.record", first
    yield "payment", "transaction.record", first
    yield "payment", "transaction.record", conflicting
    yield "payment", "transaction.record", {**conflicting, "memo": "second"}
    yield "payment", "transaction.record", {**first, "state": "created"}
    yield "payment", "transaction.record", sale(memo="4111 1111 1111 1111")
    yield "payment", "transaction.record", sale(amount_minor="12")
    records = [record_of(kind) for kind in ("refund", "qr_sale", "sign_in", "settlement")]
    yield "payment", "transaction.record_many", {"records": [*records, {"wrong": 1}]}
    yield "payment", "transaction.get", {"transaction_id": known}
    yield "payment", "transaction.get", {"transaction_id": str(uuid.uuid4())}
    lease = yield "payment", "sale.begin", {"lease_s": 30, "purpose": "sale"}
    held = {"lease_id": lease["result"]["lease_id"]}
    yield "payment", "sale.renew", {**held, "lease_s": 60}
    yield "payment", "sale.end", held
    yield "payment", "sale.end", held
    status = {"ready": True, "signed_in": True, "batch_no": "000001", "pending_reversals": 0, "unknown_results": 0}
    yield "payment", "app.status", {**status, "saf_count": 0}
    yield "payment", "app.status", status
    yield "payment", "terminal.state", {}
    yield "payment", "events.subscribe", {"kinds": []}
    yield "control", "events.subscribe", {"kinds": []}
    yield "control", "health.history", {"limit": 5}
    yield "control", "health.history", {"device": "printer-0"}
    checked = yield "control", "health.check", {"device": "printer-0", "level": "internal"}
    yield "control", "command.cancel", {"command_id": checked["result"]["command_id"]}
    ping = {"command_id": f"local-{uuid.uuid4().hex}", "name": "ping", "arguments": {}, "reason": "a test"}
    yield "control", "command.run", ping
    yield "control", "command.run", ping
    yield "control", "command.run", {**ping, "reason": "another"}
    carried = json.loads(orders.signed_order())
    yield "control", "command.run", {"envelope": carried}
    yield "control", "command.get", {"command_id": ping["command_id"]}
    yield "control", "command.get", {"command_id": "nobody"}
    yield "control", "command.list", {"limit": 1}
    yield "control", "transaction.list", {"limit": 2, "state": "approved"}
    yield "control", "transaction.list", {"limit": 0}
    yield "control", "transaction.summary", {}
    yield "control", "backup.list", {"limit": 5}
    yield "control", "backup.run", {"kind": "segment", "reason": "tried"}
    yield "control", "backup.run", {"kind": "everything"}
    yield "control", "backup.verify", {"command_id": "verify-0001"}
    for plain in ("agent.info", "health.get", "readiness.get", "journal.verify", "config.get", "metrics.get"):
        yield "control", plain, {}


def test_every_answer_is_of_its_methods_form(station: Station) -> None:
    wrongs: list[str] = []
    called: set[tuple[str, str]] = set()
    answered: set[tuple[str, str]] = set()
    with Peer(station.terminal.payment) as payment, Peer(station.terminal.control) as control:
        peers = {"payment": payment, "control": control}
        exercise = _exercise()
        call = next(exercise)
        with contextlib.suppress(StopIteration):
            while True:
                socket, method, params = call
                answer = peers[socket].call(method, params)
                wrongs += call_problems(socket, method, params, answer)
                called.add((socket, method))
                answered |= {(socket, method)} if "result" in answer else set()
                call = exercise.send(answer)
    assert not wrongs
    told = {(socket, one["name"]) for socket in peers for one in document(f"openrpc-{socket}")["methods"]}
    assert called == told, "every method of the documents is tried here"
    assert answered == told, "and succeeds at least once"
