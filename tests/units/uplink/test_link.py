"""One link: what it refuses, what it leaves behind (nothing), and how it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import LinkDown, NeedsPerson, PublishRefused
from agent.uplink import connection
from agent.uplink.broker import Broker as BrokerAddress
from agent.uplink.broker import Subscription
from agent.uplink.link import Link, opened
from tests.kit.broker import Broker, eventually, free_port, subscribe
from tests.kit.fault_broker import FaultBroker
from tests.kit.uplink_terminal import Terminal


@pytest.fixture
async def broker() -> AsyncIterator[FaultBroker]:
    async with FaultBroker() as endpoint:
        yield endpoint


def link_to(broker: FaultBroker | Broker, client_id: str = "T-0001", **options: Any) -> Link:
    address = BrokerAddress(broker.host, broker.port, **{"connect_timeout_s": 5.0, **options})
    return Link(address, client_id, persistent=False)


def descriptors() -> set[str]:
    """Open sockets of this process."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


async def nothing_left(before: set[str]) -> None:
    await eventually(lambda: descriptors() <= before, what="all sockets closed")
    await eventually(lambda: len(asyncio.all_tasks()) == 1, what="all tasks ended")
    await eventually(lambda: not [t for t in threading.enumerate() if t.name == "uplink-connect"], what="no thread")


async def test_a_hundred_connack_timeouts_leave_nothing_behind() -> None:
    async with FaultBroker() as broker:
        before = descriptors()
        broker.faults.no_connack = True

        async def attempt() -> None:
            with pytest.raises(LinkDown, match=r"no CONNACK within 0\.05 s"):
                await link_to(broker, connect_timeout_s=0.05).open()

        for _ in range(100):
            await attempt()
        await eventually(lambda: broker.open_connections == 0, what="all connections ended")
        await nothing_left(before)


async def test_two_hundred_lost_links_leave_nothing_behind(broker: FaultBroker) -> None:
    before = descriptors()
    for number in range(200):
        link = link_to(broker)
        await link.open()
        acknowledged = await link.send("a/b", b"x")
        if number % 2:
            broker.drop()
            assert await link.wait_lost()
        await link.close(orderly=bool(number % 4))
        await acknowledged
        with pytest.raises(LinkDown):
            await link.publish("a/b", b"x")
        with pytest.raises(LinkDown):
            await link.receive()
    gc.collect()
    assert len([one for one in gc.get_objects() if isinstance(one, connection.MqttClient)]) <= 2
    await eventually(lambda: broker.open_connections == 0, what="all connections ended")
    await nothing_left(before)


async def test_giving_up_while_connecting_leaves_nothing_behind(broker: FaultBroker) -> None:
    before = descriptors()
    for turns in [0, 1, 2, 3, 5, 8] * 10:
        opening = asyncio.create_task(link_to(broker).open())
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
    await eventually(lambda: broker.open_connections == 0, what="all connections ended")
    await nothing_left(before)


@pytest.mark.parametrize(
    ("fault", "value", "said"),
    [
        ("connack_reason", 0x87, "refused the connection: Not authorized"),
        ("connack_reason", 0x88, "0x88"),
        ("drop_after_connack", True, ""),
        ("malformed_after_connack", b"\xff\xff\xff\xff\xff", ""),
        ("malformed_after_connack", b"\x32\x05\x00\xff", ""),
    ],
)
async def test_a_broker_that_ends_it_is_told_apart(broker: FaultBroker, fault: str, value: object, said: str) -> None:
    before = descriptors()
    setattr(broker.faults, fault, value)
    link = link_to(broker)
    try:
        await link.open()
        broker.drop()
        assert await link.wait_lost()
    except LinkDown as err:
        assert said in err.message  # noqa: PT017  # either is right, in time or just before
    await link.close(orderly=True)
    await nothing_left(before)


async def test_nobody_there_and_no_such_name() -> None:
    with pytest.raises(LinkDown, match="cannot be reached"):
        await Link(BrokerAddress("127.0.0.1", free_port()), "T").open()
    with pytest.raises(LinkDown, match="cannot be reached"):
        await Link(BrokerAddress("a..b", 1883), "T").open()


FRAMED = st.builds(
    lambda first, body: bytes([first, len(body)]) + body, st.integers(0x10, 0xFF), st.binary(max_size=40)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(min_size=1, max_size=60), FRAMED))
def test_no_bytes_whatever_do_more_than_end_the_link(data: bytes) -> None:
    async def attempt() -> None:
        failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
        async with FaultBroker() as broker:
            link = link_to(broker)
            await link.open()
            broker.send_raw(data)
            for _ in range(3):
                broker.send_raw(b"\xd0\x00")
            await asyncio.sleep(0)
            assert broker._writer is not None
            broker._writer.close()
            await asyncio.wait_for(link.wait_lost(), 10)
            await link.close(orderly=False)
        assert not failures

    asyncio.run(attempt())


async def test_a_packet_beyond_any_size_ends_the_link_before_it_is_in_memory(broker: FaultBroker) -> None:
    link = link_to(broker)
    await link.open()
    broker.send_raw(b"\x30\xff\xff\xff\x7f" + b"\x00\x01a\x00" + b"x" * 100_000)
    assert "size" in await link.wait_lost()
    await link.close(orderly=False)


async def test_a_topic_in_broken_utf8_is_nobodys(broker: FaultBroker) -> None:
    async with opened(link_to(broker)) as link:
        broker.send_raw(b"\x32\x08\x00\x02\xc3\x28\x00\x07\x00x")
        message = await link.receive()
        assert (message.topic, message.payload, message.packet_id) == ("", b"x", 7)


async def test_a_refusal_is_an_error_with_its_reason_code(broker: FaultBroker) -> None:
    broker.faults.puback_reason = lambda message: 0x10 if message.topic == "ok" else 0x97
    async with opened(link_to(broker)) as link:
        await link.publish("ok", b"")  # "no matching subscribers" is a success
        with pytest.raises(PublishRefused) as caught:
            await link.publish("a", b"")
        assert caught.value.facts["reason_code"] == 0x97


async def test_a_small_packet_is_never_held_back(tmp_path: Path) -> None:
    """50 round trips with two small packets each way; delayed ACKs would cost 40 ms apiece."""
    with Broker(tmp_path) as broker:
        async with subscribe(broker, "out") as operator, opened(link_to(broker)) as link:
            assert link._client is not None
            sock: Any = link._client._client.socket()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 90_000
            await link.subscribe([Subscription("in")])
            took = []
            for number in range(50):
                began = asyncio.get_running_loop().time()
                await operator.client.publish("in", b"x", qos=0)
                link.acknowledge(await link.receive())
                await link.publish("out", b"y")
                await operator.collect(number + 1)
                took.append(asyncio.get_running_loop().time() - began)
            assert sorted(took)[25] < 0.03


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_both_protocols_publish_subscribe_and_acknowledge(
    tmp_path: Path, protocol: Literal["5", "3.1.1"]
) -> None:
    with Broker(tmp_path) as broker:
        async with subscribe(broker, "out") as operator:
            address = BrokerAddress(broker.host, broker.port, protocol=protocol)
            for expected in (False, True):
                link = Link(address, "T-0001")
                await link.open()
                assert link.session_present is expected
                assert await link.subscribe([Subscription("in/#"), Subscription("other", qos=0)]) == [1, 0]
                await operator.publish("in/a", b"1")
                message = await link.receive()
                assert (message.topic, message.payload, message.retained) == ("in/a", b"1", False)
                assert link.acknowledge(message)
                await link.publish("out", b"2", message_expiry_s=60)
                assert link.publish_lossy("out", b"3")
                await operator.collect(2 if not expected else 4, "out")
                await link.close(orderly=True)


def test_importing_the_room_brings_no_http_client() -> None:
    code = (
        "import sys; import agent.uplink.session;"
        "heavy = {'http.client', 'email', 'urllib.request', 'rich', 'cryptography'} & set(sys.modules);"
        "assert not heavy, heavy; import urllib.request; assert urllib.request.urlopen"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3], timeout=60)


async def test_a_library_without_manual_acknowledgement_is_never_connected(
    tmp_path: Path, broker: FaultBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.check_library()
    monkeypatch.delattr("paho.mqtt.client.Client.manual_ack_set")
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        await eventually(lambda: terminal.failed, what="the refusal")
        with pytest.raises(NeedsPerson, match="manual_ack_set"):
            await terminal.stop()
    assert broker.accepted == 0
