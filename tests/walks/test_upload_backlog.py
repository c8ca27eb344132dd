"""A backlog on its way to the collector: at the rate that is set, in little memory, and in nobody's way."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from tests.kit import orders
from tests.kit.broker import Broker, Watcher, eventually, subscribe
from tests.kit.collector import collector_policy, running
from tests.kit.contract_walk import BASE, Terminal, order, outcome, uplink
from tests.kit.filled_journal import fill

COUNT = 6_000
RATE = 700.0
PINGS = 25


def _rss_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:")) / 1024


async def _ping_s(watcher: Watcher) -> float:
    """The middle one of some round trips: a signed order to its final state."""
    took = []
    for _ in range(PINGS):
        began = time.perf_counter()
        payload = orders.order_payload()
        await order(watcher, payload)
        assert (await outcome(watcher, "ping", payload["command_id"]))["state"] == "succeeded"
        took.append(time.perf_counter() - began)
    return statistics.median(took)


async def test_a_backlog_drains_at_the_set_rate_and_delays_no_order(tmp_path: Path) -> None:
    with Broker(tmp_path, saves=False) as broker:
        config = {"uplink": uplink(broker.port), "upload": {"entries_per_s": RATE}}
        terminal = Terminal(tmp_path, broker.port, config, policy=collector_policy())
        await fill(terminal.agent.state, COUNT)
        async with running(broker) as collector, subscribe(broker, f"{BASE}agent/op/#") as watcher:
            with terminal.agent:
                assert terminal.agent.process is not None
                await eventually(lambda: collector.acknowledged > 1000, what="the drain under way")
                began, first, small = time.perf_counter(), collector.acknowledged, _rss_mib(terminal.agent.process.pid)
                busy_s = await _ping_s(watcher)
                assert collector.acknowledged < COUNT - 500, "it drained all the while"
                await eventually(lambda: collector.acknowledged > COUNT - 500, 60.0, "most of it")
                took_s, drained = time.perf_counter() - began, collector.acknowledged - first
                large = _rss_mib(terminal.agent.process.pid)
                await eventually(lambda: collector.acknowledged == COUNT, 60.0, "all of it")
                idle_s = await _ping_s(watcher)
                print(
                    f"{drained / took_s:.0f} entries/s of {RATE:g}; a ping {busy_s * 1000:.1f} ms during the drain,"
                    f" {idle_s * 1000:.1f} ms after it; {small:.1f} MiB, then {large:.1f}"
                )
                assert 0.5 < drained / took_s / RATE < 1.1
                assert busy_s < 4 * idle_s
                assert large - small < 3.0
