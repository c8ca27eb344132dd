"""The journal's way to the collector, with a real agent, a real broker and a small real collector.

Each test prints how many records were acknowledged to the payment application, how many the terminal counts as
delivered, and how many the collector holds.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.kit.broker import Broker, eventually, subscribe
from tests.kit.collector import Collector, collector_policy, running
from tests.kit.contract_peer import Peer, sale
from tests.kit.contract_walk import EVERYTHING, Terminal, online, settled, uplink

QUICK = 20_000.0  # entries a second: as fast as it goes


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
    assert journal.forks == []
    assert delivered(terminal) <= journal.upto


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
                assert all(len(payload) <= 8 * 1024 for payload in collector.received)
                tell(acknowledged, terminal, collector)
