"""20,000 orders of every kind in one flood, over the broker and the control socket: each has one outcome."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.kit import orders
from tests.kit.broker import Broker, Seen, eventually, subscribe
from tests.kit.contract_peer import Peer, sale
from tests.kit.contract_walk import BASE, FINAL, SITE, TERMINAL, Terminal, online, said

TOTAL = 20_000
LOCAL = 5_000
LARGE = 100
WAITING = 32
LIMIT_S = 200.0
PUBLISH = shutil.which("mosquitto_pub") or "/usr/bin/mosquitto_pub"
MODEL = """
schema = 1
title = "A printer that nobody has plugged in"
[devices.printer-0]
category = "pos_printer"
driver = "escpos"
sensors = ["paper_end"]
"""
ROW_BYTES = 4096
"""What an order may cost on disk: its row, its index, its message while it waits for the broker."""


@dataclass
class Flood:
    """Everything that will be sent. ``authentic`` are the ids that get a row; ``known`` of them more than once."""

    remote: list[tuple[str, bytes, bool]] = field(default_factory=list)
    authentic: set[str] = field(default_factory=set)
    local: list[dict[str, Any]] = field(default_factory=list)


def _for_tonight() -> list[tuple[str, bytes]]:
    """Orders whose window is shut all day: id and envelope. More than may wait."""
    opens = datetime.now(UTC).astimezone() + timedelta(hours=12)
    window = {"from": f"{opens:%H:%M}", "to": f"{opens + timedelta(hours=1):%H:%M}"}
    check = {"device": "printer-0", "level": "external"}
    payloads = [orders.order_payload("check_device", check, window=window) for _ in range(WAITING + 8)]
    return [(str(one["command_id"]), orders.signed_order(one)) for one in payloads]


def _flood() -> Flood:
    """Signed beforehand: what is measured is the agent, not the signing."""
    flood = Flood()
    good, unknown = [orders.order_payload() for _ in range(800)], [orders.order_payload("dance") for _ in range(400)]
    for payload in (*good, *unknown):
        flood.authentic.add(str(payload["command_id"]))
        flood.remote.append((str(payload["name"]), orders.signed_order(payload), False))
    replayed = flood.remote[:40] * 25
    stranger = [orders.signed_order(signers=(orders.STRANGER,)) for _ in range(200)] * 20
    retained = [orders.signed_order() for _ in range(20)] * 10
    flood.remote += replayed
    flood.remote += [("ping", envelope, False) for envelope in stranger]
    flood.remote += [("ping", envelope, True) for envelope in retained]
    rubbish = TOTAL - LOCAL - LARGE - len(flood.remote)
    flood.remote += [("ping", b'{"payload":"e30=","payloadType":"x","signatures":[]}', False)] * rubbish
    step = 7919  # a prime: every kind comes all the time
    flood.remote = [flood.remote[number * step % len(flood.remote)] for number in range(len(flood.remote))]
    flood.local = [{"command_id": f"local-{number % 1500}", "name": "ping"} for number in range(LOCAL - 1500)]
    flood.local += [{"command_id": f"bad-{number}", "name": "Ping!"} for number in range(1500)]
    flood.local = [flood.local[number * step % LOCAL] for number in range(LOCAL)]
    flood.authentic |= {f"local-{number}" for number in range(1500)}
    return flood


def _rss_bytes(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


async def _publish(broker: Broker, remote: Sequence[tuple[str, bytes, bool]]) -> None:
    """By Mosquitto's own client, a line a message: the sender costs next to nothing."""
    groups: dict[tuple[str, bool], list[bytes]] = defaultdict(list)
    for name, data, kept in remote:
        groups[name, kept].append(data + b"\n")
    command = [PUBLISH, "-h", broker.host, "-p", str(broker.port), "-q", "1", "-l"]
    senders = []
    try:
        for (name, kept), lines in groups.items():
            options = ["-t", f"{BASE}in/req/{name}", *(["-r"] if kept else [])]
            sender = await asyncio.create_subprocess_exec(*command, *options, stdin=asyncio.subprocess.PIPE)
            senders.append((sender, b"".join(lines)))
        await asyncio.gather(*(sender.communicate(lines) for sender, lines in senders))
        assert [sender.returncode for sender, _ in senders] == [0] * len(senders)
    finally:
        for sender, _ in senders:
            if sender.returncode is None:  # it would look for its broker for ever
                sender.kill()


def _local_flood(path: Path, calls: Sequence[dict[str, Any]]) -> dict[str, int]:
    """All calls pipelined on one connection; how many were answered how."""
    answers: dict[str, int] = defaultdict(int)
    with Peer(path, LIMIT_S) as peer:
        reading = threading.Thread(target=_count_answers, args=(peer, len(calls), answers))
        reading.start()
        for number, params in enumerate(calls):
            request = {"jsonrpc": "2.0", "id": number, "method": "command.run", "params": params}
            peer.send(json.dumps(request).encode() + b"\n")
        reading.join()
    return answers


def _count_answers(peer: Peer, count: int, answers: dict[str, int]) -> None:
    for _ in range(count):
        answer = peer.answer()
        answers["state" if "result" in answer else answer["error"]["data"]["code"]] += 1


class Shop(threading.Thread):
    """Records sale after sale, and asks the terminal's state by an order of its own, until it is told to stop."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(daemon=True)
        self.terminal = terminal
        self.over = threading.Event()
        self.recorded = 0
        self.ordered: list[str] = []

    def stop(self) -> None:
        self.over.set()
        self.join()

    def run(self) -> None:
        with Peer(self.terminal.payment, LIMIT_S) as payment, Peer(self.terminal.control, LIMIT_S) as control:
            while not self.over.is_set():
                payment.record(sale())
                self.recorded += 1
                if self.recorded % 5 == 0:
                    ask = {"command_id": f"shop-{self.recorded}", "name": "ping"}
                    control.ask("command.run", **ask)
                    self.ordered.append(ask["command_id"])
                self.over.wait(0.02)


class Tally:
    """What was published of orders. A repeat of the same message is the same element; each message is read once."""

    def __init__(self) -> None:
        self.heard: set[str] = set()
        self.finals: dict[str, set[tuple[str, int]]] = defaultdict(set)
        self._read = 0

    def has(self, wanted: set[str], messages: Sequence[Seen], *, final: bool = True) -> bool:
        """Whether something, or something final, was said of all of ``wanted``."""
        for one in messages[self._read :]:
            if one.topic.startswith(f"{BASE}agent/op/") and one.payload:
                state = said(one)
                self.heard.add(state["command_id"])
                if state["state"] in FINAL:
                    self.finals[state["command_id"]].add((state["state"], state["rev"]))
        self._read = len(messages)
        return wanted <= (self.finals.keys() if final else self.heard)


@pytest.mark.timeout(400)  # about 30 s on two idle cores; most of it is the sender's own work
async def test_20000_orders_in_a_flood_leave_the_terminal_as_it_was(tmp_path: Path) -> None:
    config = {"terminal": {"site": SITE, "terminal": TERMINAL, "serial": "SN123", "model": "m"}, "health": {}}
    with Broker(tmp_path, saves=False) as broker:
        terminal = Terminal(tmp_path / "t", broker.port, config, policy=orders.signed_policy(), models={"m": MODEL})
        with terminal.agent as agent:
            await online(broker)
            assert agent.process is not None
            flood, tonight = _flood(), _for_tonight()  # now: what was issued before the journal began is refused
            assert len(flood.remote) + len(flood.local) + LARGE == TOTAL
            tally, held = Tally(), {one for one, _ in tonight}
            async with subscribe(broker, f"{BASE}agent/op/#", f"{BASE}agent/e/#") as watcher:
                for _, envelope in tonight:
                    await watcher.publish(f"{BASE}in/req/check_device", envelope)
                await watcher.until(lambda seen: tally.has(held, seen, final=False))
                before = _rss_bytes(agent.process.pid, "VmRSS")
                shop = Shop(terminal)
                shop.start()
                ours = asyncio.create_task(asyncio.to_thread(_local_flood, terminal.control, flood.local))
                sending = asyncio.create_task(_publish(broker, flood.remote))
                for _ in range(LARGE):
                    await watcher.client.publish(f"{BASE}in/req/ping", b"x" * 70_000, qos=1, timeout=LIMIT_S)
                await sending
                answers = await ours
                everybody = flood.authentic | set(shop.ordered)
                await watcher.until(lambda seen: tally.has(everybody, seen), timeout_s=LIMIT_S)
                meanwhile = shop.recorded
                await asyncio.to_thread(shop.stop)
                everybody |= set(shop.ordered)
                await watcher.until(lambda seen: tally.has(everybody, seen), timeout_s=LIMIT_S)
                peak = _rss_bytes(agent.process.pid, "VmHWM")
                seen = list(watcher.messages)
            await eventually(lambda: terminal.query("SELECT count(*) FROM outbox")[0][0] == 0, what="an empty outbox")

            # What was sold and ordered meanwhile got through.
            assert meanwhile >= 20
            assert len(shop.ordered) >= 4
            # Every authentic order has one final state, and nobody else has a row.
            assert {one: states for one, states in tally.finals.items() if len(states) != 1} == {}
            assert tally.finals.keys() == everybody | _refused_for_the_queue(terminal, held)
            assert terminal.rows() == len(everybody | held)
            assert terminal.query("SELECT count(*) FROM commands WHERE phase = 'waiting'")[0][0] == WAITING
            assert answers["state"] == LOCAL - 1500
            assert answers["BAD_PARAMS"] == 1500
            # Told, but not by a flood: at most one event a minute and code.
            security = [said(one) for one in seen if one.topic == f"{BASE}agent/e/security"]
            assert {one["data"]["code"] for one in security} == {"SEC-SIG-001"}
            told_at = [datetime.fromisoformat(one["time"]) for one in security]
            assert all(later - earlier > timedelta(seconds=59) for earlier, later in pairwise(told_at))
            # Bounded.
            assert peak < before * 1.6, f"{before / 2**20:.1f} MiB before, {peak / 2**20:.1f} MiB at most"
            assert terminal.database.stat().st_size < (len(everybody) + shop.recorded) * ROW_BYTES
            assert terminal.database.with_name("agent.db-wal").stat().st_size <= 9 * 2**20
            assert [line for line in agent.log().splitlines() if '"level":"error"' in line] == []
            assert agent.stop() == 0


def _refused_for_the_queue(terminal: Terminal, held: set[str]) -> set[str]:
    """Those of ``held`` that were one too many."""
    rows = terminal.query("SELECT command_id FROM commands WHERE reason_code = 'QUEUE_FULL'")
    return {row[0] for row in rows} & held
