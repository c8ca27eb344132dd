"""A day in the life of a terminal on a clock that runs ahead: sales, faults, orders, a broker that goes away, and back.

At its end everything that was promised is there, and nothing has grown.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
import tomli_w

from agent.demo import evidence
from drivers.emulators.pos_printer import PrinterEmulator
from tests.kit import orders
from tests.kit.agent_in_time import AgentInTime, Footprint, agent_in_time
from tests.kit.broker import Broker, Watcher, subscribe
from tests.kit.contract_peer import record_of, sale
from tests.kit.contract_walk import BASE, EVERYTHING, FINAL
from tests.kit.host_tree import HostTree
from tests.kit.manual_clock import ManualClock
from tests.kit.rpc_peer import RpcPeer, peer_of

HOUR_S = 3600.0
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


class Day:
    """A terminal with everything around it, and what has been sent to it."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.folder = folder
        self.broker = broker
        self.clock = ManualClock()
        self.host = HostTree(folder)
        self.printer = PrinterEmulator(folder / "printer")
        self.config = folder / "etc" / "agent.toml"
        (self.config.parent / "models").mkdir(parents=True)
        (self.config.parent / "models" / "counter.toml").write_text(MODEL)
        (self.config.parent / "policy.json").write_bytes(orders.signed_policy())
        self.config.write_text(
            tomli_w.dumps(
                {
                    "mode": "development",
                    "terminal": {"site": "shop-1", "terminal": "T-0001", "serial": "SN123", "model": "counter"},
                    "binding": [{"provider": "acquirer-a", "mid": "104110058120001", "tid": "00010001"}],
                    "paths": {
                        **{name: str(folder / name) for name in ("state", "run")},
                        **{"procfs": str(self.host.procfs), "sysfs": str(self.host.sysfs)},
                    },
                    "clock": {"trust": "assume"},
                    "trust": {"policy": str(self.config.parent / "policy.json")},
                    "health": {"interval_s": 120.0},
                    "uplink": {"host": broker.host, "port": broker.port, "tls": False, "metrics_interval_s": 600.0},
                    "devices": {"printer-0": {"port": str(self.printer.port)}},
                }
            )
        )
        self.records: dict[str, int] = {}
        self.ordered: dict[str, str] = {}
        self.agent: AgentInTime
        self.payment: RpcPeer
        self.control: RpcPeer
        self.watcher: Watcher

    async def sell(self, count: int) -> None:
        """Record sales, some of them twice."""
        for number in range(count):
            record = sale()
            result = await self.payment.result("transaction.record", record)
            self.records[record["transaction_id"]] = result["sequence"]
            if number % 3 == 0:
                again = await self.payment.result("transaction.record", record)
                assert again == {"sequence": result["sequence"], "duplicate": True}

    async def settle(self) -> None:
        """Close the batch with the totals that it has: money that waits for over a day would be a fault."""
        debits = {"debit_count": len(self.records), "debit_minor": len(self.records) * sale()["amount_minor"]}
        totals = [{"currency": "156", **debits, "credit_count": 0, "credit_minor": 0}]
        record = record_of("settlement", totals=totals)
        result = await self.payment.result("transaction.record", record)
        self.records[record["transaction_id"]] = result["sequence"]

    async def order(self, outcome: str, name: str = "ping", **fields: Any) -> str:
        """Publish a signed order; ``outcome`` is the final state that it must come to by the end of the day."""
        payload = orders.order_payload(name, issued_at=self.clock.now(), **fields)
        await self.watcher.publish(f"{BASE}in/req/{name}", orders.signed_order(payload))
        self.ordered[str(payload["command_id"])] = outcome
        return str(payload["command_id"])

    def window(self, after_s: float, length_s: float) -> dict[str, str]:
        """A window of the terminal's local time that opens ``after_s`` from now."""
        opens = (self.clock.now() + timedelta(seconds=after_s)).astimezone()
        shuts = opens + timedelta(seconds=length_s)
        return {"from": f"{opens:%H:%M}", "to": f"{shuts:%H:%M}"}

    def told(self, below: str) -> list[Any]:
        """Contents of one topic so far, in order; None for an empty payload."""
        return [json.loads(payload) if payload else None for payload in self.watcher.on(BASE + below)]

    async def until_told(self, below: str, condition: Any, what: str) -> None:
        """Time passes until the last content of a topic is as it must be."""
        for _ in range(200):
            if (told := self.told(below)) and condition(told[-1]):
                return
            await self.agent.pass_time(30.0)
            await asyncio.sleep(0.005)
        raise AssertionError(f"never: {what}; last: {self.told(below)[-1:]}")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path, config="log_type error\n") as running:
        yield running


def _has(code: str) -> Any:
    return lambda faults: any(one["code"] == code for one in faults["faults"])


def _has_not(code: str) -> Any:
    return lambda faults: not _has(code)(faults)


async def _morning(day: Day) -> None:
    """Sales, orders of every fate, an intruder, a roll of paper."""
    await day.sell(20)
    await day.order("succeeded")
    await day.order("rejected", "dance")
    await day.order("expired", lifetime=timedelta(minutes=30), window=day.window(2 * HOUR_S, HOUR_S))
    await day.order("succeeded", lifetime=timedelta(hours=20), window=day.window(5 * HOUR_S, HOUR_S))
    await day.watcher.publish(f"{BASE}in/req/ping", orders.signed_order(signers=(orders.STRANGER,)))
    await day.until_told("agent/faults", _has("SEC-SIG-001"), "the intruder is reported")
    await day.agent.pass_time(HOUR_S)
    day.printer.apply({"paper_end": True})
    await day.until_told("agent/readiness", lambda one: not one["ready"], "no paper, no sale")
    await day.sell(2)  # the application goes on recording all the same
    day.printer.apply({"paper_end": False})
    await day.until_told("agent/readiness", lambda one: one["ready"], "a new roll")
    day.host.memory(available_pct=3)
    await day.until_told("agent/faults", _has("HST-MEM-001"), "memory is short")
    day.host.memory(available_pct=60)
    await day.until_told("agent/faults", _has_not("HST-MEM-001"), "memory is back")


async def _afternoon(day: Day) -> None:
    """The broker is away for two hours; selling goes on, and what happened meanwhile arrives afterwards."""
    await asyncio.to_thread(day.broker.stop)
    await day.agent.pass_time(2 * HOUR_S)
    await day.sell(20)
    day.printer.apply({"cover_open": True})
    await day.agent.pass_time(600.0)
    day.printer.apply({"cover_open": False})
    await day.agent.pass_time(600.0)
    local = {"command_id": "at-the-counter", "name": "ping"}
    assert (await day.control.result("command.run", local))["state"] == "accepted"
    day.ordered["at-the-counter"] = "succeeded"
    await asyncio.to_thread(day.broker.start)


async def _lived(day: Day) -> tuple[Footprint, Footprint]:
    """All 26 hours; what the process held after three of them, and at the end."""
    run = day.folder / "run"
    began = day.clock.now()
    async with peer_of(run / "payment.sock") as day.payment, peer_of(run / "control.sock") as day.control:
        async with subscribe(day.broker, EVERYTHING) as day.watcher:
            await day.until_told("agent/status", lambda one: one["online"], "a link")
            await day.until_told("agent/readiness", lambda one: one["ready"], "ready to sell")
            await _morning(day)
            early = day.agent.footprint()
            await _afternoon(day)
            seen = day.watcher.messages
        async with subscribe(day.broker, EVERYTHING) as day.watcher:
            await day.until_told("agent/status", lambda one: one["online"], "the link is back")
            await day.sell(20)
            await day.settle()
            await day.agent.pass_time(26 * HOUR_S - (day.clock.now() - began).total_seconds())
            await _evening(day, [*seen, *day.watcher.messages])
            return early, day.agent.footprint()


@pytest.mark.timeout(300)  # about 45 s on two idle cores
async def test_a_day_leaves_everything_promised_and_nothing_else(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = Day(tmp_path, broker)
    await day.printer.start()
    with structlog.testing.capture_logs() as logs:
        async with agent_in_time(day.config, day.clock, monkeypatch) as day.agent:
            early, late = await _lived(day)
        await day.printer.stop()
        day.host.close()
    _nothing_has_grown(early, late)
    assert [one for one in logs if one["log_level"] in ("error", "critical")] == []


async def _evening(day: Day, seen: list[Any]) -> None:
    """What must be so 26 hours after the beginning."""
    verified = await day.control.result("journal.verify")
    assert verified == {"intact": True, "upto_sequence": len(day.records), "missing": []}
    assert sorted(day.records.values()) == list(range(1, len(day.records) + 1))
    assert evidence.check_chain(day.folder / "state" / "agent.db") == len(day.records)
    # Orders: one final state each, the one that it had to be.
    finals: dict[str, set[str]] = defaultdict(set)
    for one in seen:
        if "/agent/op/" in one.topic and one.payload:
            state = json.loads(one.payload)
            finals[state["command_id"]] |= {state["state"]} & FINAL
    assert {one: states for one, states in finals.items() if states} == {
        one: {state} for one, state in day.ordered.items()
    }
    # Yesterday's orders have left their topics, and what happened once has aged out.
    cleared = {one.topic.rpartition("/")[2] for one in seen if "/agent/op/" in one.topic and not one.payload}
    assert cleared == set(list(day.ordered)[:3])
    # Nobody signs for what was uploaded here, so entries have been on this medium alone since the morning.
    await day.until_told("agent/faults", lambda one: [f["code"] for f in one["faults"]] == ["TXN-JRN-003"], "one fault")
    metrics = await day.control.result("metrics.get")
    assert metrics["store"]["unprotected_entries"] == len(day.records)
    assert metrics["store"]["oldest_unprotected_age_s"] > 24 * HOUR_S
    await day.agent.count_as_backed_up(len(day.records))
    await day.until_told("agent/faults", lambda one: one["faults"] == [], "no fault is left")
    # What is so is said anew once a day, even where nothing changed.
    days = [json.loads(one.payload) for one in seen if re.search(r"/dev/memory/health$", one.topic) and one.payload]
    assert len({one["at"][:13] for one in days}) >= 3
    # Everything committed has reached the broker.
    metrics = await day.control.result("metrics.get")
    assert metrics["store"]["waiting"] == 0
    with closing(sqlite3.connect(f"file:{day.folder / 'state' / 'agent.db'}?mode=ro", uri=True)) as db:
        async with asyncio.timeout(20):
            while db.execute("SELECT count(*) FROM outbox").fetchone() != (0,):
                await day.agent.pass_time(1.0)


def _nothing_has_grown(early: Footprint, late: Footprint) -> None:
    assert late.threads <= early.threads + 1  # a board's reader that is just being replaced; a leak would be hundreds
    assert late.descriptors <= early.descriptors + 1
    assert late.tasks <= early.tasks + 1
    assert late.sleeping <= early.sleeping + 2
    assert late.objects < early.objects * 1.15
