"""A backlog on its way to the collector: at the rate that is set, in little memory, and in nobody's way."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

from tests.kit import orders
from tests.kit.broker import Broker, Watcher, eventually, subscribe
from tests.kit.collector import Collector, collector_policy, running
from tests.kit.contract_walk import BASE, Terminal, order, outcome, uplink
from tests.kit.filled_journal import fill

COUNT = 5_000
RATE = 700.0
ROUNDS, PINGS = 5, 5


def _rss_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:")) / 1024


async def _pings_s(watcher: Watcher) -> list[float]:
    """Some round trips: a signed order to its final state."""
    took = []
    for _ in range(PINGS):
        began = time.perf_counter()
        payload = orders.order_payload()
        await order(watcher, payload)
        assert (await outcome(watcher, "ping", payload["command_id"]))["state"] == "succeeded"
        took.append(time.perf_counter() - began)
    return took


async def _pause(collector: Collector) -> None:
    """The drain stands still once a window is unanswered."""
    collector.silent = True
    before = -1
    while before != len(collector.received):
        before = len(collector.received)
        await asyncio.sleep(0.1)


async def _resume(collector: Collector) -> None:
    collector.silent = False
    await collector.say(collector.model.ack(collector.model.journal()))
    went_on = len(collector.received) + 2
    await eventually(lambda: len(collector.received) > went_on, what="the drain going on")


async def test_a_backlog_drains_at_the_set_rate_and_delays_no_order(tmp_path: Path) -> None:
    """The terminal is compared with itself, in turns: other load on this machine slows both."""
    with Broker(tmp_path, saves=False) as broker:
        config = {"uplink": uplink(broker.port), "upload": {"entries_per_s": RATE}}
        terminal = Terminal(tmp_path, broker.port, config, policy=collector_policy())
        await fill(terminal.agent.state, COUNT)
        async with running(broker) as collector, subscribe(broker, f"{BASE}agent/op/#") as watcher:
            with terminal.agent:
                assert terminal.agent.process is not None
                await eventually(lambda: collector.acknowledged > 200, what="the drain under way")
                busy: list[float] = []
                idle: list[float] = []
                for _ in range(ROUNDS):
                    busy += await _pings_s(watcher)
                    assert collector.acknowledged < COUNT - 1500, "it drained all the while"
                    await _pause(collector)
                    idle += await _pings_s(watcher)
                    await _resume(collector)
                small = _rss_mib(terminal.agent.process.pid)
                began, first = time.perf_counter(), collector.acknowledged
                await eventually(lambda: collector.acknowledged > COUNT - 200, 60.0, "most of it")
                took_s, drained = time.perf_counter() - began, collector.acknowledged - first
                large = _rss_mib(terminal.agent.process.pid)
                busy_s, idle_s = statistics.median(busy), statistics.median(idle)
                print(
                    f"{drained} entries, {drained / took_s:.0f}/s of {RATE:g}; a ping {busy_s * 1000:.1f} ms during the"
                    f" drain, {idle_s * 1000:.1f} ms in its pauses; {small:.1f} MiB, then {large:.1f}"
                )
                assert drained > 1000
                assert 0.5 < drained / took_s / RATE < 1.15
                assert busy_s < 4 * idle_s
                assert large - small < 3.0
