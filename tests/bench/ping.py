"""A signed ping, request to final state, against a bare aiomqtt echo over the same broker, TCP_NODELAY on both sides.

The ping is verified, journalled, carried out and answered; the echo only comes back. Both use the same requester.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import aiomqtt

from agent.demo.evidence import BrokerWitness
from tests.bench.row import Row
from tests.kit import orders
from tests.kit.agent_process import ROOT, AgentProcess
from tests.kit.broker import Broker

COUNT = 300
ROUNDS = 3
FAST = "autosave_on_changes false\nautosave_interval 1800"  # the broker is not what is measured
PREFIX = "pos/v1/shop-1/T-0001/"


async def _round_trips(
    port: int, topic: str, answers: str, payloads: list[bytes], is_answer: Callable[[bytes, bytes], bool]
) -> list[float]:
    """Seconds of each request, one after the other."""
    took = []
    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        raw = client._client.socket()
        assert isinstance(raw, socket.socket)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await client.subscribe(answers, qos=1)
        for payload in payloads:
            started = time.perf_counter()
            publishing = asyncio.create_task(client.publish(topic, payload, qos=1))
            async for message in client.messages:
                if isinstance(message.payload, bytes) and is_answer(payload, message.payload):
                    break
            took.append(time.perf_counter() - started)
            await publishing
    return took


def _echo_round(port: int) -> list[float]:
    payloads = [json.dumps({"n": number, "pad": "x" * 900}).encode() for number in range(COUNT)]
    command = [sys.executable, "-OO", "-m", "tests.bench.echo_client", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as echo:
        assert echo.stdout is not None
        echo.stdout.readline()
        try:
            return asyncio.run(
                _round_trips(port, "bench/request", "bench/answer", payloads, lambda sent, got: sent == got)
            )
        finally:
            echo.kill()


def _ping_round(port: int) -> list[float]:
    made = [orders.order_payload("ping") for _ in range(COUNT)]
    ids = {orders.signed_order(order): order["command_id"] for order in made}

    def is_answer(sent: bytes, got: bytes) -> bool:
        state = json.loads(got)
        return bool(state["command_id"] == ids[sent] and state["state"] == "succeeded")

    topic, answers = f"{PREFIX}in/req/ping", f"{PREFIX}agent/op/ping/+"
    return asyncio.run(_round_trips(port, topic, answers, list(ids), is_answer))


def report() -> list[Row]:
    """Medians over interleaved rounds."""
    with tempfile.TemporaryDirectory(prefix="pos-bench-") as name, Broker(Path(name) / "broker", config=FAST) as broker:
        folder = Path(name) / "agent"
        uplink = {"host": "127.0.0.1", "port": broker.port, "tls": False}
        agent = AgentProcess(folder, {"uplink": uplink}, program=["-OO", "-m", "agent", "run"])
        (folder / "etc" / "policy.json").write_bytes(orders.signed_policy())
        try:
            agent.start()
            # Until its first SUBSCRIBE nothing that is published reaches it.
            BrokerWitness(broker.port).wait_retained(f"{PREFIX}agent/status", {"online": True})
            rounds = [(_ping_round(broker.port), _echo_round(broker.port)) for _ in range(ROUNDS)]
        finally:
            agent.close()
    pings = [one for ping, _ in rounds for one in ping]
    echoes = [one for _, echo in rounds for one in echo]
    ours, theirs = statistics.median(pings) * 1000, statistics.median(echoes) * 1000
    return [Row("signed ping to final state", ours, "ms", 3.0, theirs, "bare aiomqtt echo")]
