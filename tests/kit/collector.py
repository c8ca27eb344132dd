"""A small real collector at a real broker: `ModelCollector` behind MQTT, signing with the policy's collector key.

It can be silent, be set back, and say what no honest collector would; everything is the test's to choose.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import aiomqtt

from agent.contract.journal_upload import ACK_TYPE
from tests.kit import orders
from tests.kit.broker import Broker
from tests.kit.contract_walk import BASE
from tests.kit.model_collector import ModelCollector

COLLECTOR = orders.Signer("collector-person", ("collector",))
PEOPLE = (*orders.EVERYBODY, COLLECTOR)
TOPIC, ACK_TOPIC = f"{BASE}agent/txn", f"{BASE}in/ack/txn"


def collector_policy(**changes: Any) -> bytes:
    """A signed policy that knows the collector, too."""
    return orders.signed_policy(orders.policy_payload(PEOPLE, **changes))


def signed_ack(ack: Mapping[str, Any], signers: Sequence[orders.Signer] = (COLLECTOR,)) -> bytes:
    """An acknowledgement as it travels."""
    return orders.sign_json(ack, signers, ACK_TYPE)


class Collector:
    """``async with running(broker) as collector:``. It keeps its session at the broker and comes back by itself.

    Attributes:
        silent: Take entries, and acknowledge nothing.
        received: Messages on ``agent/txn``, in order of arrival.
        acknowledged: The last ``upto_seq`` that was handed to the broker.
    """

    def __init__(self, broker: Broker, model: ModelCollector | None = None, *, username: str | None = None) -> None:
        self.model = model or ModelCollector()
        self.silent = False
        self.received: list[bytes] = []
        self.acks: list[dict[str, Any]] = []
        self.acknowledged = 0
        self._broker = broker
        self._username = username
        self._client: aiomqtt.Client | None = None
        self._ready = asyncio.Event()

    async def ready(self) -> None:
        """Return once it is subscribed."""
        await asyncio.wait_for(self._ready.wait(), 20.0)

    async def say(self, ack: Mapping[str, Any], signers: Sequence[orders.Signer] = (COLLECTOR,)) -> None:
        """Any acknowledgement, signed by anybody."""
        await self.send(signed_ack(ack, signers))

    async def send(self, payload: bytes, *, retain: bool = False) -> None:
        """Any bytes where acknowledgements go."""
        await self.ready()
        assert self._client is not None
        await self._client.publish(ACK_TOPIC, payload, qos=1, retain=retain)

    async def run(self) -> None:
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                await self._one_link()
            self._ready.clear()
            await asyncio.sleep(0.05)

    async def _one_link(self) -> None:
        async with aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            identifier="collector",
            username=self._username,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=False,
            properties=_keeps_session(),
            timeout=1.5,  # also how long it waits to take leave of a broker that is dead
        ) as client:
            client.pending_calls_threshold = 100_000
            self._client = client
            await client.subscribe(TOPIC, qos=1)
            self._ready.set()
            async for message in client.messages:
                payload = bytes(message.payload)
                self.received.append(payload)
                ack = self.model.receive(payload)
                if not self.silent:
                    self.acks.append(ack)
                    await client.publish(ACK_TOPIC, signed_ack(ack), qos=1)
                    self.acknowledged = ack["upto_seq"]


def _keeps_session() -> Any:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 3600
    return properties


@contextlib.asynccontextmanager
async def running(broker: Broker, model: ModelCollector | None = None, **options: Any) -> AsyncIterator[Collector]:
    """A collector for the length of a ``with``; subscribed when it begins."""
    collector = Collector(broker, model, **options)
    task = asyncio.create_task(collector.run())
    try:
        await collector.ready()
        yield collector
    finally:
        task.cancel()
        await asyncio.wait([task])
