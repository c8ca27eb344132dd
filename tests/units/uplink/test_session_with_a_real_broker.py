"""The session against Mosquitto: what others see on the broker, whatever happens to it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from agent.contract.publication import Publication
from tests.kit.broker import Broker, collect, eventually, subscribe
from tests.kit.uplink_terminal import ADDRESS, IDENTITY, TRUTH, Request, Terminal, conn, online

STATUS = ADDRESS.topic("agent/status")
PING = ADDRESS.topic("in/req/ping")


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    return Broker(tmp_path)


async def test_every_connection_tells_the_own_truth_before_what_waited(tmp_path: Path, broker: Broker) -> None:
    with broker:
        async with subscribe(broker, "pos/v1/#") as watcher, Terminal(tmp_path, broker.host, broker.port) as terminal:
            await terminal.put(Publication("agent/e/fault", b"{}"))
            seen = await watcher.collect(4)
            assert [message.topic.removeprefix("pos/v1/shop-1/T-0001/") for message in seen] == [
                "agent/status",
                "agent/birth",
                "agent/readiness",
                "agent/e/fault",
            ]
            assert [message.retained for message in seen] == [True, True, True, False]
            assert msgspec.json.decode(seen[0].payload) == {
                "online": True,
                "conn": (1 << 20) + 1,
                "boot_id": IDENTITY.boot_id,
                "journal_id": IDENTITY.journal_id,
                "at": msgspec.json.decode(seen[0].payload)["at"],
            }
            birth = msgspec.json.decode(seen[1].payload)
            assert (birth["serial"], birth["model"], birth["conn"]) == ("SN123", "m1", (1 << 20) + 1)
            assert seen[2].payload == TRUTH.payload
        assert terminal.links[0][0] is True


async def test_an_orderly_stop_says_offline_at_once_and_leaves_no_will(tmp_path: Path, broker: Broker) -> None:
    with broker:
        async with subscribe(broker, STATUS) as watcher:
            async with Terminal(tmp_path, broker.host, broker.port):
                await watcher.collect(1)
            await watcher.collect(2)
            assert [online(payload) for payload in watcher.on(STATUS)] == [True, False]
            await eventually(lambda: "Received DISCONNECT from T-0001" in broker.log(), what="DISCONNECT")
        assert not online((await collect(broker, STATUS))[0].payload)


@pytest.mark.parametrize("keep_state", [True, False])
async def test_a_restarted_broker_gets_everything_again_and_orders_still_arrive(
    tmp_path: Path, broker: Broker, keep_state: bool
) -> None:
    with broker:
        async with Terminal(tmp_path, broker.host, broker.port) as terminal:
            await terminal.connected()
            first = conn((await collect(broker, STATUS))[0].payload)
            broker.kill()
            await eventually(lambda: not terminal.links[-1][0], what="the link noticed as lost")
            await terminal.put(Publication("agent/e/queued", b"1"), Publication("agent/op/ping/c1", b"2", retain=True))
            if not keep_state:
                broker.forget()
            broker.start()
            async with subscribe(broker, "pos/v1/#") as watcher:
                assert terminal.session is not None
                terminal.session.wake()
                await watcher.until(lambda _seen: len(watcher.on(ADDRESS.topic("agent/op/ping/c1"))) >= 1)
                await eventually(lambda: terminal.links[-1][0], what="the link back")
                await watcher.until(lambda _seen: any(online(p) and conn(p) > first for p in watcher.on(STATUS)))
                await watcher.publish(PING, b"envelope")
                await eventually(lambda: bool(terminal.requests), what="the request")
            assert terminal.requests == [Request("ping", b"envelope", False, False)]
            await eventually(lambda: not terminal.failed and terminal.publisher.counters.acknowledged == 2)
            assert await terminal.outbox.count() in {0, 1, 2}
            while await terminal.outbox.count():
                await asyncio.sleep(0.01)


async def test_a_broker_absent_at_the_start_is_waited_for(tmp_path: Path, broker: Broker) -> None:
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        await terminal.put(Publication("agent/e/early", b"1"))
        await eventually(lambda: len(terminal.links) >= 3, what="three failures")
        assert {connected for connected, _detail in terminal.links} == {False}
        assert "cannot be reached" in terminal.links[0][1]
        with broker:
            async with subscribe(broker, ADDRESS.topic("agent/e/#")) as watcher:
                await watcher.collect(1)
            assert terminal.session is not None
            assert terminal.session.state.conn & 0xFFFFF >= 4
            await terminal.stop()


async def test_requests_queued_while_the_terminal_was_off_arrive_in_order_once(tmp_path: Path, broker: Broker) -> None:
    with broker:
        async with Terminal(tmp_path, broker.host, broker.port) as terminal:
            await terminal.connected()
            await terminal.stop()
            async with subscribe(broker) as operator:
                for number in range(50):
                    await operator.publish(PING, b"%d" % number)
            terminal.start_counter = 2
            terminal.start()
            await eventually(lambda: len(terminal.requests) >= 50, what="50 requests")
            await eventually(lambda: broker.log().count("Received PUBACK from T-0001") == 50, what="50 PUBACKs")
            await terminal.stop()
            terminal.start()
            await terminal.connected()
            assert [request.payload for request in terminal.requests] == [b"%d" % number for number in range(50)]


async def test_a_retained_request_is_handed_on_as_retained_live_or_stored(tmp_path: Path, broker: Broker) -> None:
    with broker:
        async with subscribe(broker) as operator:
            await operator.publish(ADDRESS.topic("in/req/reset"), b"stored", retain=True)
            async with Terminal(tmp_path, broker.host, broker.port) as terminal:
                await eventually(lambda: len(terminal.requests) == 1, what="the stored request")
                await operator.publish(PING, b"live", retain=True)
                await operator.publish(PING, b"plain")
                await operator.publish("pos/v1/shop-1/_all/in/req/ping", b"all")
                await eventually(lambda: len(terminal.requests) == 4, what="the live requests")
                assert terminal.requests == [
                    Request("reset", b"stored", True, False),
                    Request("ping", b"live", True, False),
                    Request("ping", b"plain", False, False),
                    Request("ping", b"all", False, True),
                ]


async def test_what_is_no_request_is_acknowledged_counted_and_stalls_nothing(tmp_path: Path, broker: Broker) -> None:
    with broker:
        async with subscribe(broker) as operator, Terminal(tmp_path, broker.host, broker.port) as terminal:
            await terminal.connected()
            for number in range(30):  # more than the Receive Maximum
                await operator.publish(ADDRESS.topic("in/other"), b"%d" % number)
                await operator.publish(ADDRESS.topic("in/req/a/b"), b"x")
                await operator.publish(PING, b"x" * 65537)
            await operator.publish(PING, b"x" * 1024 * 1024)  # the broker itself withholds this one
            await operator.publish(PING, b"y" * 65536)
            await eventually(lambda: bool(terminal.requests), what="the request after all that")
            assert [len(request.payload) for request in terminal.requests] == [65536]
            await eventually(lambda: broker.log().count("Received PUBACK from T-0001") == 91, what="every PUBACK")
            assert (terminal.refused.count("too_large"), terminal.refused.count("unexpected_topic")) == (30, 60)
            await terminal.stop()
            terminal.start()
            await terminal.connected()
            await operator.publish(PING, b"z")
            await eventually(lambda: len(terminal.requests) == 2, what="the next request")
            assert len(terminal.refused) == 90  # nothing came twice: all of it was acknowledged


async def test_metrics_are_published_fresh_and_never_pile_up_offline(tmp_path: Path, broker: Broker) -> None:
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        for number in range(1000):
            terminal.gauges.set("host", {"load_1min": number, "cpu_temp_c": 40.5})
        with broker:
            async with subscribe(broker, ADDRESS.topic("agent/m/#")) as watcher:
                (first,) = await watcher.collect(1)
                assert msgspec.json.decode(first.payload)["values"] == {"load_1min": 999, "cpu_temp_c": 40.5}
                terminal.gauges.set("host", {"load_1min": 7})
                terminal.gauges.set("store", {"wal_bytes": 1})
                await watcher.collect(3)
                said = {
                    message.topic.rpartition("/")[2]: msgspec.json.decode(message.payload)
                    for message in watcher.messages
                }
                assert said["host"]["values"] == {"load_1min": 7, "cpu_temp_c": 40.5}
                assert said["store"]["values"] == {"wal_bytes": 1}
                assert len(watcher.messages) == 3  # and no group without news
            assert await terminal.outbox.count() == 0
            await terminal.stop()
