"""The queue of messages: order, replacement of retained ones, bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.contract.publication import Publication
from agent.runtime.clock import SystemClock
from agent.store.database import Connection, Worth
from agent.store.outbox import Outbox, put
from tests.kit.manual_clock import ManualClock
from tests.kit.store_records import open_journal

AT = ManualClock().now()


def event(number: int) -> Publication:
    return Publication("agent/e/test", b"%d" % number, message_expiry_s=60)


def state(content: bytes, below: str = "agent/op/ping/1") -> Publication:
    return Publication(below, content, retain=True)


async def test_messages_wait_in_order_until_they_are_sent(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        outbox = Outbox(opened.database)
        ids = [await opened.database.write(lambda db, n=n: put(db, event(n), AT), worth=Worth.OUTBOX) for n in range(5)]  # type: ignore[misc]
        first = await outbox.waiting(0, 3)
        assert [row.id for row in first] == ids[:3]
        assert first[0].publication == event(0)
        assert first[0].queued_at == AT
        await outbox.sent([ids[0], ids[2], 999])
        await outbox.sent([])
        assert [row.id for row in await outbox.waiting(ids[1], 10)] == ids[3:]
        assert await outbox.count() == 3
    async with open_journal(tmp_path) as again:
        assert await Outbox(again.database).count() == 3


async def test_a_retained_message_replaces_the_waiting_one_of_its_topic(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        outbox = Outbox(opened.database)
        for content in (b"accepted", b"running", b"succeeded"):
            await opened.database.write(lambda db, c=content: put(db, state(c), AT), worth=Worth.OUTBOX)  # type: ignore[misc]
        await opened.database.write(lambda db: put(db, state(b"x", "agent/status"), AT), worth=Worth.OUTBOX)
        rows = await outbox.waiting(0, 10)
        assert [row.publication.payload for row in rows] == [b"succeeded", b"x"]
        in_flight = rows[0].id
        await opened.database.write(lambda db: put(db, state(b"again"), AT), worth=Worth.OUTBOX)
        await outbox.sent([in_flight])  # the acknowledgement of the old one must not remove the new one
        assert [row.publication.payload for row in await outbox.waiting(0, 10)] == [b"x", b"again"]


async def test_an_id_is_never_given_twice(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        first = await opened.database.write(lambda db: put(db, event(1), AT), worth=Worth.OUTBOX)
        await Outbox(opened.database).sent([first])
        assert await opened.database.write(lambda db: put(db, event(2), AT), worth=Worth.OUTBOX) > first


async def test_beyond_the_bound_the_oldest_events_go_and_are_counted(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        outbox = Outbox(opened.database)

        def fill(db: Connection) -> None:
            put(db, state(b"kept"), AT, max_rows=10)
            for number in range(25):
                put(db, event(number), AT, max_rows=10)

        await opened.database.write(fill, worth=Worth.OUTBOX)
        payloads = [row.publication.payload for row in await outbox.waiting(0, 100)]
        assert payloads == [b"kept", *(b"%d" % number for number in range(16, 25))]
        assert await outbox.dropped() == 16


async def test_a_message_and_the_fact_it_tells_stand_or_fall_together(tmp_path: Path) -> None:
    def fails(db: Connection) -> None:
        put(db, event(1), SystemClock().now())
        raise LookupError

    async with open_journal(tmp_path) as opened:
        with pytest.raises(LookupError):
            await opened.database.write(fails, worth=Worth.RUN)
        assert await Outbox(opened.database).count() == 0
