"""The journal's way to the collector, with a real agent, a real broker and a small real collector.

Each test prints how many records were acknowledged to the payment application, how many the terminal counts as
delivered, and how many the collector holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.kit import orders
from tests.kit.broker import Broker, Watcher, eventually, subscribe
from tests.kit.collector import ACK_TOPIC, COLLECTOR, Collector, collector_policy, running, signed_ack
from tests.kit.contract_peer import Peer, sale
from tests.kit.contract_walk import BASE, EVERYTHING, Terminal, matching, now, online, said, settled, uplink
from tests.kit.documents import message_problems

QUICK = 20_000.0  # entries a second: as fast as it goes
STEADY = 800.0


def terminal_of(folder: Path, broker: Broker, *, entries_per_s: float = QUICK, **changes: Any) -> Terminal:
    config = {"uplink": uplink(broker.port, **changes), "upload": {"entries_per_s": entries_per_s}}
    return Terminal(folder, broker.port, config, policy=collector_policy())


def record(terminal: Terminal, count: int) -> int:
    """Record so many sales; how many were acknowledged."""
    acknowledged = 0
    with Peer(terminal.payment) as peer:
        while acknowledged < count:
            records = [sale() for _ in range(min(100, count - acknowledged))]
            results = peer.ask("transaction.record_many", records=records)["results"]
            assert all("sequence" in one for one in results), results
            acknowledged += len(results)
    return acknowledged


def delivered(terminal: Terminal) -> int:
    """The terminal's mark, as stored."""
    rows = terminal.query("SELECT value FROM meta WHERE name = 'delivered_upto'")
    return int(rows[0][0]) if rows else 0


async def all_delivered(terminal: Terminal, upto: int, timeout_s: float = 30.0) -> None:
    await eventually(lambda: delivered(terminal) == upto, timeout_s, f"delivered up to {upto}")


def tell(acknowledged: int, terminal: Terminal, collector: Collector) -> None:
    """Print the outcome; what is held is compared with what the terminal's own file has."""
    journal = collector.model.journal()
    ours = dict(terminal.query("SELECT sequence, lower(hex(hash)) FROM entries"))
    theirs = {sequence: item["hash"] for sequence, item in journal.entries.items()}
    print(f"acknowledged {acknowledged}, delivered {delivered(terminal)}, held by the collector {len(theirs)}")
    assert theirs == ours
    assert len(ours) == acknowledged
    assert journal.forks == []
    assert delivered(terminal) <= journal.upto


def faults(watcher: Watcher) -> set[str]:
    """Codes that the newest ``agent/faults`` names."""
    lists = matching(watcher.messages, "agent/faults")
    return {one["code"] for one in said(lists[-1])["faults"]} if lists else set()


async def test_everything_goes_in_order_and_only_the_signed_word_marks_it(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        terminal = terminal_of(tmp_path, broker)
        async with running(broker) as collector:
            collector.silent = True
            with terminal.agent:
                await online(broker)
                acknowledged = await asyncio.to_thread(record, terminal, 500)
                await eventually(lambda: len(collector.received) >= 8, what="a window")
                async with subscribe(broker, EVERYTHING) as watcher:
                    await settled(watcher)  # whoever would send more had the time to
                    assert len(collector.received) == 8, "no more than eight beyond the last acknowledgement"
                    assert delivered(terminal) == 0, "a PUBACK marks nothing"
                    collector.silent = False
                    await collector.say(collector.model.ack(collector.model.journal()))
                    await all_delivered(terminal, 500)
                    sent = [one for one in watcher.messages if one.topic in {f"{BASE}agent/txn", ACK_TOPIC}]
                    assert not any(message_problems(*one[:2], qos=one.qos, retained=one.retained) for one in sent)
                assert all(len(payload) <= 8 * 1024 for payload in collector.received)
                birth = await now(broker, "agent/birth")
                genesis = terminal.query("SELECT lower(hex(base_hash)) FROM journals")[0][0]
                assert birth["origin"] == {"parent": None, "base_sequence": 0, "base_hash": genesis}
                tell(acknowledged, terminal, collector)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_broker_killed_in_mid_drain_costs_nothing(tmp_path: Path, protocol: str) -> None:
    with Broker(tmp_path) as broker:
        terminal = terminal_of(tmp_path, broker, entries_per_s=STEADY, protocol=protocol)
        async with running(broker) as collector:
            with terminal.agent:
                await online(broker)
                acknowledged = await asyncio.to_thread(record, terminal, 1200)
                for part in (200, 600):
                    await eventually(lambda part=part: collector.acknowledged > part, what="a part of it")  # type: ignore[misc]
                    await asyncio.to_thread(broker.kill)
                    await asyncio.to_thread(broker.start)
                await all_delivered(terminal, acknowledged)
                tell(acknowledged, terminal, collector)


async def test_an_agent_killed_in_mid_drain_goes_on_from_its_mark(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        terminal = terminal_of(tmp_path, broker, entries_per_s=STEADY)
        async with running(broker) as collector:
            try:
                terminal.agent.start()
                acknowledged = await asyncio.to_thread(record, terminal, 1200)
                for part in (100, 450, 800):
                    await eventually(lambda part=part: collector.acknowledged > part, what="a part of it")  # type: ignore[misc]
                    await asyncio.to_thread(terminal.agent.kill)
                    assert delivered(terminal) <= collector.model.journal().upto
                    await asyncio.to_thread(terminal.agent.start)
                await all_delivered(terminal, acknowledged)
                tell(acknowledged, terminal, collector)
            finally:
                terminal.agent.close()


async def test_a_collector_that_was_set_back_has_everything_again(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        terminal = terminal_of(tmp_path, broker)
        async with running(broker) as collector:
            with terminal.agent:
                await online(broker)
                acknowledged = await asyncio.to_thread(record, terminal, 1200)
                await all_delivered(terminal, acknowledged)
                collector.model.journal().lose(500)
                acknowledged += await asyncio.to_thread(record, terminal, 1)  # by it the loss is noticed
                await eventually(lambda: collector.model.journal().upto == acknowledged, 30.0, "all of it again")
                await all_delivered(terminal, acknowledged)
                assert [one["resend_from"] for one in collector.acks if "resend_from" in one] == [701]
                tell(acknowledged, terminal, collector)


async def test_a_fork_or_a_claim_beyond_the_end_changes_nothing_and_is_told_until_both_agree(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        terminal = terminal_of(tmp_path, broker)
        async with running(broker) as collector, subscribe(broker, EVERYTHING) as watcher:
            with terminal.agent:
                await online(broker)
                acknowledged = await asyncio.to_thread(record, terminal, 50)
                await all_delivered(terminal, 50)
                collector.silent = True
                acknowledged += await asyncio.to_thread(record, terminal, 50)
                await eventually(lambda: collector.model.journal().upto == 100, what="held, not acknowledged")
                truth = collector.model.ack(collector.model.journal())
                for lie in ({"chain": "ab" * 32}, {"upto_seq": 101}, {"upto_seq": 60}):
                    await collector.say({**truth, **lie})
                    await watcher.until(lambda _seen: "SEC-AUD-001" in faults(watcher))
                    await settled(watcher)
                    assert delivered(terminal) == 50
                collector.silent = False
                await collector.say(truth)
                await all_delivered(terminal, 100)
                assert "SEC-AUD-001" in faults(watcher), "the claim about sequence 101 stands"
                acknowledged += await asyncio.to_thread(record, terminal, 1)
                await all_delivered(terminal, 101)
                await watcher.until(lambda _seen: "SEC-AUD-001" not in faults(watcher))
                events = [said(one)["data"] for one in matching(watcher.messages, "agent/e/fault")]
                assert [one["active"] for one in events if one["code"] == "SEC-AUD-001"] == [True, False]
                tell(acknowledged, terminal, collector)


def _forged(truth: dict[str, Any]) -> Sequence[bytes]:
    """Words that look like the collector's and are not, or not for this terminal, or not readable in one way."""
    content = signed_ack(truth)
    return [
        signed_ack(truth, (orders.OPERATOR, orders.ROOT)),
        signed_ack(truth, (orders.STRANGER,)),
        signed_ack({**truth, "terminal": "T-0002"}),
        orders.sign_json(truth, (COLLECTOR,)),
        content[:-1] + b',"payload":"e30="}',
        content + b" " * 66_000,
        b"\xff{",
        b"",
    ]


async def test_no_other_word_than_the_collectors_for_this_terminal_is_believed(tmp_path: Path) -> None:
    """Another terminal's, an operator's, a stranger's, a retained one, an old one again, rubbish: a flood of all."""
    with Broker(tmp_path) as broker:
        terminal = terminal_of(tmp_path, broker)
        async with running(broker) as collector, subscribe(broker, EVERYTHING) as watcher:
            with terminal.agent:
                await online(broker)
                acknowledged = await asyncio.to_thread(record, terminal, 50)
                await all_delivered(terminal, 50)
                old = signed_ack(collector.model.ack(collector.model.journal()))
                collector.silent = True
                acknowledged += await asyncio.to_thread(record, terminal, 50)
                await eventually(lambda: collector.model.journal().upto == 100, what="held, not acknowledged")
                truth = collector.model.ack(collector.model.journal())
                await settled(watcher)
                rows = terminal.query("SELECT count(*) FROM outbox")[0][0], terminal.rows()
                bad = _forged(truth)
                for number in range(40 * len(bad)):
                    await collector.send(bad[number % len(bad)])
                await collector.send(old)
                await collector.send(signed_ack(truth), retain=True)
                await collector.send(b"", retain=True)
                await watcher.publish(f"{BASE}in/ack/audit", signed_ack(truth))
                await settled(watcher)  # whoever stalls the window answers no ping
                assert delivered(terminal) == 50
                await watcher.until(lambda _seen: "SEC-SIG-001" in faults(watcher))
                assert "SEC-AUD-001" not in faults(watcher)
                assert (terminal.query("SELECT count(*) FROM outbox")[0][0], terminal.rows()) <= (
                    rows[0] + 1,
                    rows[1] + 1,
                )
                events = [said(one) for one in matching(watcher.messages, "agent/e/security")]
                assert len(events) <= 2, "at most one a minute"
                await collector.say(truth)
                await all_delivered(terminal, 100)
                counted = terminal.ask("metrics.get")["agent"]["refused_sec_sig_001"]
                assert counted == 40 * len(bad) + 3
                tell(acknowledged, terminal, collector)
