"""The session against a broker that misbehaves: order of PUBACKs, refusals, kicks, silence, floods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from agent.contract.publication import Publication
from agent.errors import BadRequest, StoreFull
from agent.runtime.backoff import Backoff
from tests.kit.broker import eventually
from tests.kit.fault_broker import (
    FaultBroker,
    Faults,
    maximum_packet_size,
    receive_maximum,
    server_keep_alive,
)
from tests.kit.uplink_terminal import ADDRESS, Request, Terminal, online

PING = ADDRESS.topic("in/req/ping")
STATUS = ADDRESS.topic("agent/status")


@pytest.fixture
async def broker() -> AsyncIterator[FaultBroker]:
    async with FaultBroker() as endpoint:
        yield endpoint


async def test_connect_asks_for_what_the_contract_promises(tmp_path: Path, broker: FaultBroker) -> None:
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        await terminal.connected()
        (connect,) = broker.connects
        assert (connect.client_id, connect.clean_start, connect.keepalive_s) == ("T-0001", False, 60)
        assert b"\x11" + (7 * 24 * 3600).to_bytes(4, "big") in connect.properties  # Session Expiry Interval
        assert b"\x21" + (16).to_bytes(2, "big") in connect.properties  # Receive Maximum
        assert b"\x27" + (128 * 1024).to_bytes(4, "big") in connect.properties  # Maximum Packet Size
        assert connect.will_topic == STATUS
        assert not online(connect.will_payload)
        assert connect.will_properties == b"\x18" + (10).to_bytes(4, "big")  # Will Delay Interval
        options = dict(broker.subscribed)
        assert list(options) == [ADDRESS.topic("in/#"), "pos/v1/shop-1/_all/in/#", STATUS]
        assert all(option & 0x08 for option in options.values())  # Retain As Published
        own = broker.published[0]
        said, will = (msgspec.json.decode(payload) for payload in (own.payload, connect.will_payload))
        assert {**said, "online": False, "at": None} == {**will, "at": None}


async def test_puback_leaves_only_after_the_request_was_taken_and_in_order(tmp_path: Path, broker: FaultBroker) -> None:
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        gate = asyncio.Event()

        async def slowly(request: Request) -> None:
            broker.events.append(("began", request.payload))
            await gate.wait()
            broker.events.append(("committed", request.payload))

        terminal.on_request = slowly
        await terminal.connected()
        for number in range(3):
            broker.deliver(PING, b"%d" % number)
        await eventually(lambda: ("began", b"0") in broker.events, what="the first request in hand")
        await terminal.put(Publication("agent/e/x", b"1"))  # the other direction goes on meanwhile
        await eventually(lambda: ("publish", ADDRESS.topic("agent/e/x")) in broker.events, what="our own message")
        assert not broker.acknowledged
        gate.set()
        await eventually(lambda: len(broker.acknowledged) == 3, what="three PUBACKs")
        order = [event for event in broker.events if event[0] in {"committed", "puback"}]
        assert broker.acknowledged == [1, 2, 3]
        for number in range(3):
            assert order.index(("committed", b"%d" % number)) < order.index(("puback", number + 1))


async def test_a_request_of_a_lost_link_is_never_acknowledged_on_the_next(tmp_path: Path, broker: FaultBroker) -> None:
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        gate = asyncio.Event()
        terminal.on_request = lambda _request: gate.wait()  # type: ignore[assignment,return-value]
        await terminal.connected()
        broker.deliver(PING, b"old")
        await eventually(lambda: terminal.inbound.received == 1, what="the request in hand")
        broker.drop()
        await eventually(lambda: len(broker.connects) == 2, what="the next link")
        packet_id = broker.deliver(PING, b"new")
        await eventually(lambda: terminal.links[-1][0], what="up")
        assert terminal.inbound.received == 1  # one at a time, over lost links too
        gate.set()
        await eventually(lambda: broker.acknowledged == [packet_id], what="PUBACK of the new one alone")
        assert [request.payload for request in terminal.requests] == [b"old", b"new"]


async def test_a_store_that_cannot_write_holds_a_request_back_and_a_refusal_does_not(
    tmp_path: Path, broker: FaultBroker
) -> None:
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        tries = 0

        async def full_at_first(request: Request) -> None:
            nonlocal tries
            tries += 1
            if request.payload == b"bad":
                raise BadRequest("no")
            if tries < 4:
                raise StoreFull("the disk is full")

        terminal.on_request = full_at_first
        await terminal.connected()
        broker.deliver(PING, b"1")
        await eventually(lambda: broker.acknowledged == [1], what="PUBACK")
        assert tries == 4
        broker.deliver(PING, b"bad")
        await eventually(lambda: broker.acknowledged == [1, 2], what="PUBACK of what was refused")
        assert terminal.refused == ["not_taken"]


async def test_a_request_that_breaks_the_inbox_does_not_keep_the_uplink_down(
    tmp_path: Path, broker: FaultBroker
) -> None:
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:

        async def broken(request: Request) -> None:
            if request.payload == b"poison":
                raise ZeroDivisionError

        terminal.on_request = broken
        for _ in range(3):
            await terminal.connected()
            broker.deliver(PING, b"poison")
            await eventually(lambda: terminal.failed, what="the failure")
            with pytest.raises(ExceptionGroup):
                await terminal.stop()
            assert not broker.acknowledged
            terminal.start()
            await eventually(lambda: terminal.links[-1][0], what="up again")
        packet_ids = [broker.deliver(PING, payload) for payload in (b"poison", b"good")]
        await eventually(lambda: broker.acknowledged == packet_ids, what="both acknowledged")
        assert [request.payload for request in terminal.requests] == [b"good"]
        assert terminal.refused == ["not_taken"]


async def test_a_flood_is_left_to_the_broker_while_the_inbox_is_busy(tmp_path: Path, broker: FaultBroker) -> None:
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        gate = asyncio.Event()
        terminal.on_request = lambda _request: gate.wait()  # type: ignore[assignment,return-value]
        await terminal.connected()
        await eventually(lambda: len(broker.published) >= 3, what="the own truth")
        payload = b"x" * 1000
        most = 0
        for _ in range(20_000):
            broker.deliver(PING, payload)  # 20,000 beyond any Receive Maximum
        assert broker._writer is not None
        task = next(task for task in asyncio.all_tasks() if task.get_name() == "uplink-receive")
        link = task.get_coro().cr_frame.f_locals["link"]  # type: ignore[union-attr]
        for _ in range(100):
            await asyncio.sleep(0.002)
            most = max(most, link._client.inbound.qsize())
        assert 0 < most < 100
        gate.set()
        await eventually(lambda: len(broker.acknowledged) == 20_000, 60.0, "all of them, in the end")
        assert broker.acknowledged == list(range(1, 20_001))
        assert link._client.inbound.bytes_waiting == 0


async def test_a_blocked_inbox_does_not_cost_the_link_and_shows_in_the_pulse(
    tmp_path: Path, broker: FaultBroker
) -> None:
    async with Terminal(tmp_path, broker.host, broker.port, keepalive_s=1) as terminal:
        gate = asyncio.Event()
        terminal.on_request = lambda _request: gate.wait()  # type: ignore[assignment,return-value]
        terminal.inbound._receive_limit_s = 0.5
        await terminal.connected()
        for _ in range(500):
            broker.deliver(PING, b"x" * 1000)
        await eventually(lambda: broker.events.count(("ping",)) >= 3, what="PINGREQ while reading is paused")
        assert terminal.pulses[0].overdue
        assert len(broker.connects) == 1
        gate.set()
        await eventually(lambda: len(broker.acknowledged) == 500, what="all of them")
        pings = broker.events.count(("ping",))
        await eventually(lambda: broker.events.count(("ping",)) >= pings + 2, what="answered pings")
        assert not terminal.pulses[0].overdue
        assert len(broker.connects) == 1


async def test_a_kicked_client_backs_off_as_if_it_had_never_connected(tmp_path: Path, broker: FaultBroker) -> None:
    broker.faults.kick_after_connack = 0x8E  # another client took over the session
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        waits: list[float] = []

        class Recorded(Backoff):
            def next_s(self) -> float:
                waits.append(self._first_s * 2 ** min(self._failures, 5))
                super().next_s()
                return 0.01

        assert terminal.session is not None
        terminal.session._backoff = Recorded(1.0, 120.0)
        await eventually(lambda: len(waits) >= 7, what="seven kicks")
        assert waits[:6] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
        broker.faults.kick_after_connack = None
        await terminal.connected()
        assert any("0x8E" in detail for _connected, detail in terminal.links)


@pytest.mark.parametrize("steady_s", [0.0, 60.0])
async def test_backoff_starts_again_only_after_a_good_link(
    tmp_path: Path, broker: FaultBroker, steady_s: float
) -> None:
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        assert terminal.session is not None
        terminal.session._steady_s = steady_s
        terminal.backoff._failures = 3
        await terminal.connected()
        broker.drop()
        await eventually(lambda: len(broker.connects) == 2, what="the next link")
        assert terminal.backoff._failures == (1 if steady_s == 0.0 else 4)


async def test_waking_ends_the_wait(tmp_path: Path, broker: FaultBroker) -> None:
    terminal = Terminal(tmp_path, broker.host, broker.port)
    terminal.backoff = Backoff(1000.0, 1000.0)
    broker.faults.drop_after_connack = True
    async with terminal:
        await eventually(lambda: bool(terminal.links) and not terminal.links[-1][0], what="the first failure")
        broker.faults.drop_after_connack = False
        assert terminal.session is not None
        terminal.session.wake()
        await terminal.connected()


async def test_a_link_that_went_silent_is_noticed_within_1_6_keepalives(tmp_path: Path, broker: FaultBroker) -> None:
    async with Terminal(tmp_path, broker.host, broker.port, keepalive_s=2) as terminal:
        lags: list[float] = [0.0]

        async def measure_lag() -> None:
            while True:
                began = terminal.clock.monotonic()
                await asyncio.sleep(0.02)
                lags.append(terminal.clock.monotonic() - began - 0.02)

        await eventually(lambda: ("ping",) in broker.events, what="a link kept alive")
        assert len(broker.connects) == 1
        measuring = asyncio.create_task(measure_lag())
        began = terminal.clock.monotonic()
        broker.faults.deaf = True
        await eventually(lambda: not terminal.links[-1][0], what="silence noticed")
        took_s = terminal.clock.monotonic() - began
        measuring.cancel()
        assert took_s < 1.6 * 2 + sum(lag for lag in lags if lag > 0.01)  # what a busy machine took away does not count
        assert "PINGREQ" in terminal.links[-1][1]


async def test_the_brokers_keepalive_counts(tmp_path: Path) -> None:
    async with (
        FaultBroker(Faults(connack_properties=server_keep_alive(1))) as broker,
        Terminal(tmp_path, broker.host, broker.port, keepalive_s=600) as terminal,
    ):
        await terminal.connected()
        await eventually(lambda: ("ping",) in broker.events, what="PINGREQ")


async def test_a_refused_own_subscription_is_no_link_and_others_may_be_refused(
    tmp_path: Path, broker: FaultBroker
) -> None:
    broker.faults.suback_reason = lambda topic: 0x87
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        await eventually(lambda: bool(terminal.links), what="the first failure")
        assert "ACL" in terminal.links[0][1]
        assert not broker.published
        broker.faults.suback_reason = lambda topic: 1 if topic == ADDRESS.topic("in/#") else 0x87
        await terminal.connected()
        broker.deliver(PING, b"1")
        await eventually(lambda: bool(terminal.requests), what="the request")


async def test_a_late_will_is_corrected_and_the_own_word_is_not(tmp_path: Path, broker: FaultBroker) -> None:
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        await eventually(lambda: len(broker.published) >= 3, what="the own truth")
        await terminal.connected()

        def told() -> list[bool]:
            return [online(message.payload) for message in broker.published if message.topic == STATUS]

        broker.deliver(STATUS, broker.published[0].payload, qos=0, retain=True)
        broker.deliver(STATUS, b"rubbish", qos=0, retain=True)
        broker.deliver(PING, b"1")
        await eventually(lambda: bool(terminal.requests), what="what came after")
        assert told() == [True]
        broker.deliver(STATUS, broker.connects[0].will_payload, qos=0, retain=True)
        await eventually(lambda: told() == [True, True], what="the correction")
        assert not terminal.refused


async def test_the_brokers_limits_bound_our_window_and_our_packets(tmp_path: Path) -> None:
    properties = receive_maximum(3) + maximum_packet_size(1000)
    async with (
        FaultBroker(Faults(connack_properties=properties, puback_delay_s=0.01)) as broker,
        Terminal(tmp_path, broker.host, broker.port) as terminal,
    ):
        await terminal.put(*[Publication("agent/e/x", b"%d" % number) for number in range(30)])
        await terminal.put(Publication("agent/e/big", b"x" * 2000))
        await terminal.put(Publication("agent/e/y", b"last"))
        await eventually(lambda: terminal.publisher.counters.acknowledged == 31, what="all that fits")
        assert broker.most_unacknowledged == 3
        assert ADDRESS.topic("agent/e/big") not in {message.topic for message in broker.published}
        assert len(broker.connects) == 1
