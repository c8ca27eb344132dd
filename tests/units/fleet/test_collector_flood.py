"""The collector under a flood while its store is away: what comes beyond a bound stays with the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from agent.errors import StoreUnavailable
from agent.fleet.collector.acks import Signer
from agent.fleet.collector.database import open_store
from agent.fleet.collector.ledger import Ledger, Message, Posted
from agent.fleet.collector.service import MAX_INBOX, MAX_INBOX_BYTES, RECEIVE_MAXIMUM, Collector
from agent.fleet.key_file import read_private
from agent.uplink.broker import Received
from agent.uplink.link import Link


class Flood:
    """A link on which QoS 0 never ends, as no Receive Maximum holds it back."""

    def __init__(self, size_bytes: int) -> None:
        self.received = 0
        self._payload = bytes(size_bytes)

    async def receive(self) -> Received:
        self.received += 1
        if self.received % 100 == 0:
            await asyncio.sleep(0)
        return Received("pos/v1/S-01/T-1/agent/txn", self._payload, 0, False, 0)

    def acknowledge(self, _message: Received) -> bool:
        return True


class Away(Ledger):
    """A store that does not answer until it is ``back``."""

    back = False

    def post(self, messages: Sequence[Message], now_ms: int) -> Posted:
        if not self.back:
            raise StoreUnavailable("away")
        return Posted([], [], 0)


@pytest.mark.parametrize(
    ("size_bytes", "most"), [(10, MAX_INBOX), (100_000, MAX_INBOX_BYTES // 100_000 + 1)], ids=["messages", "bytes"]
)
async def test_a_flood_stays_with_the_broker_while_the_store_is_away(
    tmp_path: Path, collector_key: Path, size_bytes: int, most: int
) -> None:
    database = open_store(str(tmp_path / "c.db"))
    ledger, flood, stop, away = Away(database), Flood(size_bytes), asyncio.Event(), asyncio.Event()
    collector = Collector(
        ledger, Signer(read_private(collector_key)), tell=lambda _one: None, trouble=lambda _why: away.set()
    )

    async def subscribe() -> None:
        """Was done."""

    running: asyncio.Task[Any] = asyncio.create_task(collector.run(cast(Link, flood), subscribe(), stop))
    try:
        async with asyncio.timeout(30):
            await away.wait()
            for _turn in range(2_000):
                await asyncio.sleep(0)
            assert flood.received <= most + RECEIVE_MAXIMUM
            ledger.back = True
            while flood.received < 5 * most:  # and it goes on
                await asyncio.sleep(0.01)
    finally:
        stop.set()
        await running
        collector.close()
        database.close()
