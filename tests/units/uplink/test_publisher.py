"""The publisher with a real outbox: a row goes only after a good PUBACK, and a refused one holds up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from agent.contract.publication import HARD_LIMIT_BYTES, Publication
from agent.errors import StoreUnavailable
from tests.kit.broker import eventually
from tests.kit.fault_broker import FaultBroker, Published
from tests.kit.uplink_terminal import ADDRESS, Terminal


@pytest.fixture
async def broker() -> AsyncIterator[FaultBroker]:
    async with FaultBroker() as endpoint:
        yield endpoint


def event(number: int) -> Publication:
    return Publication(f"agent/e/n{number}", b"%d" % number)


def events(broker: FaultBroker) -> list[str]:
    head = ADDRESS.topic("agent/e/")
    return [message.topic.removeprefix(head) for message in broker.published if message.topic.startswith(head)]


async def gone(terminal: Terminal, left: int = 0) -> None:
    async with asyncio.timeout(15):
        while await terminal.outbox.count() != left:
            await asyncio.sleep(0.01)


async def test_rows_go_in_order_and_no_more_than_eight_wait(tmp_path: Path, broker: FaultBroker) -> None:
    broker.faults.puback_delay_s = 0.005
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        await terminal.put(*[event(number) for number in range(100)])
        await gone(terminal)
        assert events(broker) == [f"n{number}" for number in range(100)]
        assert broker.most_unacknowledged == 8


async def test_without_puback_no_row_goes_and_the_next_link_sends_them_again(
    tmp_path: Path, broker: FaultBroker
) -> None:
    broker.faults.puback_reason = lambda _message: 0
    async with Terminal(tmp_path, broker.host, broker.port, acknowledge_timeout_s=0.3) as terminal:
        await terminal.connected()
        await eventually(lambda: len(broker.published) >= 3, what="the own truth")
        broker.faults.no_puback = True
        await terminal.put(event(1), event(2))
        await eventually(lambda: len(broker.connects) >= 2, what="the link given up")
        assert any("no PUBACK" in detail for _connected, detail in terminal.links)
        assert await terminal.outbox.count() == 2
        broker.faults.no_puback = False
        await gone(terminal)
        assert events(broker)[:2] == ["n1", "n2"]
        assert events(broker)[-2:] == ["n1", "n2"]
        assert terminal.publisher.counters.acknowledged == 2


async def test_a_refused_row_stays_and_is_tried_again_and_others_pass(tmp_path: Path, broker: FaultBroker) -> None:
    refusing = True

    def reason(message: Published) -> int:
        return 0x97 if refusing and message.payload == b"1" else 0

    broker.faults.puback_reason = reason
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        await terminal.put(event(0), event(1), event(2))
        await gone(terminal, left=1)
        await eventually(lambda: events(broker).count("n1") >= 3, what="tried again")
        assert (await terminal.outbox.waiting(0, 10))[0].publication == event(1)
        refusing = False
        await gone(terminal)
        assert events(broker).count("n0") == events(broker).count("n2") == 1


async def test_a_row_refused_for_ever_is_set_aside_and_kept(tmp_path: Path, broker: FaultBroker) -> None:
    broker.faults.puback_reason = lambda message: 0x87 if message.payload == b"1" else 0
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        terminal.publisher._refused_wait_s = 0.002
        terminal.publisher._set_aside_s = 1000.0
        await terminal.put(event(1), event(2))
        await eventually(lambda: terminal.publisher.counters.set_aside == 1, what="set aside")
        assert events(broker).count("n1") == 5
        await terminal.put(*[event(number) for number in range(3, 40)])
        await gone(terminal, left=1)
        assert events(broker).count("n1") == 5
        assert len(broker.connects) == 1


async def test_a_refused_row_that_was_replaced_is_forgotten(tmp_path: Path, broker: FaultBroker) -> None:
    broker.faults.puback_reason = lambda message: 0x99 if message.payload == b"old" else 0
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        terminal.publisher._refused_wait_s = 0.2
        await terminal.put(Publication("agent/op/ping/c1", b"old", retain=True))
        await eventually(lambda: terminal.publisher.counters.refused == 1, what="the refusal")
        await terminal.put(Publication("agent/op/ping/c1", b"new", retain=True))
        await gone(terminal)
        await eventually(lambda: not terminal.publisher._refusals, what="forgotten")
        assert [m.payload for m in broker.published if m.topic.endswith("c1")] == [b"old", b"new"]


async def test_a_broker_that_refuses_everything_slows_the_drain(tmp_path: Path, broker: FaultBroker) -> None:
    refusing = True
    broker.faults.puback_reason = lambda _message: 0x80 if refusing else 0
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        terminal.publisher._refused_wait_s = 1000.0
        await terminal.put(*[event(number) for number in range(200)])
        await eventually(lambda: terminal.publisher._slowed._failures >= 3, what="slowed")
        assert len(events(broker)) < 40
        assert await terminal.outbox.count() == 200
        refusing = False
        await terminal.put(event(999))
        await eventually(lambda: "n999" in events(broker), 30.0, "the drain going on")


async def test_what_is_too_large_is_replaced_by_an_event_and_never_sent(tmp_path: Path, broker: FaultBroker) -> None:
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        await terminal.put(
            Publication("agent/e/fits", b"x" * HARD_LIMIT_BYTES),
            Publication("agent/e/large", b"x" * (HARD_LIMIT_BYTES + 1)),
        )
        await gone(terminal)
        assert events(broker) == ["fits", "unsendable"]
        said = msgspec.json.decode(broker.published[-1].payload)
        assert said["data"] == {"topic": "agent/e/large", "size_bytes": 65537, "limit_bytes": 65536}
        assert said["source"] == "pos/v1/shop-1/T-0001"
        assert (terminal.publisher.counters.too_large, terminal.publisher.counters.above_soft_limit) == (1, 1)


async def test_a_topic_name_that_cannot_be_is_set_aside_like_a_refusal(tmp_path: Path, broker: FaultBroker) -> None:
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        await terminal.put(Publication("agent/e/#", b"1"), event(2))
        await gone(terminal, left=1)
        assert events(broker) == ["n2"]
        await eventually(lambda: terminal.publisher.counters.set_aside == 1, what="set aside")


async def test_a_store_that_does_not_answer_is_asked_again(
    tmp_path: Path, broker: FaultBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        waiting, sent, failures = terminal.outbox.waiting, terminal.outbox.sent, 4

        def fail() -> None:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise StoreUnavailable("not now")

        async def failing_waiting(after_id: int, limit: int) -> object:
            fail()
            return await waiting(after_id, limit)

        async def failing_sent(ids: list[int]) -> None:
            fail()
            await sent(ids)

        await terminal.connected()
        monkeypatch.setattr(terminal.outbox, "sent", failing_sent)
        await terminal.put(event(1))
        await eventually(lambda: failures <= 2, what="a failing delete")
        monkeypatch.setattr(terminal.outbox, "waiting", failing_waiting)
        await terminal.put(event(2))
        await gone(terminal)
        assert events(broker) == ["n1", "n2"]
        assert len(broker.connects) == 1


async def test_a_row_acknowledged_on_a_lost_link_is_not_sent_again(
    tmp_path: Path, broker: FaultBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Terminal(tmp_path, broker.host, broker.port) as terminal:
        sent, usable = terminal.outbox.sent, False

        async def failing_sent(ids: list[int]) -> None:
            if not usable:
                raise StoreUnavailable("not now")
            await sent(ids)

        monkeypatch.setattr(terminal.outbox, "sent", failing_sent)
        await terminal.put(event(1))
        await eventually(lambda: terminal.publisher.counters.acknowledged == 1, what="PUBACK")
        broker.drop()
        await eventually(lambda: len(broker.connects) == 2, what="the next link")
        await terminal.put(event(2))
        await eventually(lambda: "n2" in events(broker), what="the second row")
        assert events(broker) == ["n1", "n2"]
        usable = True
        await gone(terminal)
