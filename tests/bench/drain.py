"""A full outbox sent to the broker, beside aiomqtt alone that sends the same messages from memory, same window.

Measured at a subscriber, from the first message to the last. The agent reads each from its database, and deletes it
there once it is acknowledged.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiomqtt

from agent.contract.publication import Publication
from agent.runtime.clock import SystemClock
from agent.store import outbox
from agent.store.database import Database, Worth
from agent.uplink.broker import WINDOW
from tests.bench.row import Row
from tests.kit.agent_process import AgentProcess
from tests.kit.broker import Broker, subscribe

MESSAGES = 4000
ROUNDS = 3
FAST = "autosave_on_changes false\nautosave_interval 1800"  # the broker is not what is measured
TOPIC = "pos/v1/shop-1/T-0001/agent/e/bench"


def _payload(number: int) -> bytes:
    return b'{"number": %d, "pad": "%s"}' % (number, b"x" * 400)


async def _rate(broker: Broker, send: Callable[[], Awaitable[None]]) -> float:
    """Messages a second, as a subscriber sees them arrive."""
    async with subscribe(broker, TOPIC) as watcher:
        sending = asyncio.ensure_future(send())
        await watcher.collect(1, TOPIC, timeout_s=60)
        began, already = time.perf_counter(), len(watcher.messages)
        await watcher.collect(MESSAGES, TOPIC, timeout_s=120)
        took_s = time.perf_counter() - began
        await sending
    return (MESSAGES - already) / took_s


async def _fill(state: Path) -> None:
    database = Database(state / "agent.db", SystemClock())
    database.open()
    try:
        for first in range(0, MESSAGES, 500):
            rows = [Publication("agent/e/bench", _payload(number)) for number in range(first, first + 500)]
            await database.write(
                lambda db, rows=rows: [outbox.put(db, one, SystemClock().now()) for one in rows],  # type: ignore[misc]
                worth=Worth.OUTBOX,
            )
    finally:
        await database.close()


async def _agent_round(agent: AgentProcess, broker: Broker) -> float:
    await asyncio.to_thread(agent.stop)
    await _fill(agent.state)
    return await _rate(broker, lambda: asyncio.to_thread(agent.start))


async def _bare_round(broker: Broker) -> float:
    """In a process of its own, as the agent is."""
    command = [sys.executable, "-OO", "-m", "tests.bench.drain", str(broker.port)]

    async def send() -> None:
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() == 0

    return await _rate(broker, send)


async def _send_from_memory(port: int) -> None:
    payloads = [_payload(number) for number in range(MESSAGES)]
    async with aiomqtt.Client(
        "127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, max_inflight_messages=WINDOW
    ) as client:
        client.pending_calls_threshold = WINDOW
        waiting = iter(payloads)

        async def sender() -> None:
            for payload in waiting:
                await client.publish(TOPIC, payload, qos=1)

        await asyncio.gather(*(sender() for _ in range(WINDOW)))


async def _measure() -> list[tuple[float, float]]:
    with tempfile.TemporaryDirectory(prefix="pos-bench-") as name:
        folder = Path(name)
        with Broker(folder / "broker", config=FAST) as broker:
            uplink = {"host": broker.host, "port": broker.port, "tls": False}
            agent = AgentProcess(folder / "agent", {"uplink": uplink}, program=["-OO", "-m", "agent", "run"])
            try:
                agent.start()
                return [(await _agent_round(agent, broker), await _bare_round(broker)) for _ in range(ROUNDS)]
            finally:
                agent.close()


def report() -> list[Row]:
    """Interleaved rounds; medians."""
    ours, bare = (statistics.median(one) for one in zip(*asyncio.run(_measure()), strict=True))
    return [Row("outbox drain", ours, "msg/s", 0.5, bare, "bare aiomqtt", at_least=True)]


if __name__ == "__main__":
    asyncio.run(_send_from_memory(int(sys.argv[1])))
