"""The kit itself: what later tests rely on when they kill a broker and look at what it kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.broker import Broker, collect, eventually, subscribe


async def test_a_retained_message_outlives_an_orderly_restart_and_not_a_forgetful_one(tmp_path: Path) -> None:
    async with Broker(tmp_path) as broker:
        async with subscribe(broker) as client:
            await client.publish("a/b", b"1", retain=True)
        broker.restart()
        assert [(seen.payload, seen.retained) for seen in await collect(broker, "a/#")] == [(b"1", True)]
        broker.restart(keep_state=False)
        async with subscribe(broker, "a/#") as client:
            await client.publish("a/c", b"2")
            assert [seen.topic for seen in await client.collect(1)] == ["a/c"]


async def test_a_killed_broker_is_gone_and_keeps_its_port(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.start()
    port, pid = broker.port, broker.pid
    broker.kill()
    assert not broker.running
    with broker:
        assert broker.port == port
        assert broker.pid != pid
        async with subscribe(broker, "x") as client:
            await client.publish("x", b"again")
            await client.collect(1, "x")
            assert client.on("x") == [b"again"]


async def test_it_says_what_did_not_come(tmp_path: Path) -> None:
    async with Broker(tmp_path) as broker, subscribe(broker, "x") as client:
        await client.publish("x", b"1")
        with pytest.raises(AssertionError, match="not within"):
            await client.collect(2, timeout_s=0.3)
        with pytest.raises(AssertionError, match="the moon"):
            await eventually(lambda: False, timeout_s=0.05, what="the moon")
