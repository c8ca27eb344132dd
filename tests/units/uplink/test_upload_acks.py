"""Every rule of the collector's acknowledgements, over a real journal."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from agent.contract.journal_upload import WINDOW
from agent.contract.journal_views import EntryItem
from agent.runtime.identifiers import uuid7
from agent.store import marks
from agent.store.anchor import Anchor, move_anchor
from agent.store.journals import continue_journal
from agent.uplink.upload import GATHER_S, MAX_ACKS
from agent.uplink.upload_window import SAME_WISH_S
from tests.kit import orders
from tests.kit.collector import COLLECTOR, signed_ack
from tests.kit.upload_room import COUNT, UploadRoom

_ACK = "application/vnd.pos-agent.ack.v1+json"


async def test_an_old_or_repeated_word_changes_nothing(room: UploadRoom) -> None:
    await room.connect()
    old = room.wire.spans()[0][1]
    await room.says(old)
    new = room.wire.spans()[4][1]
    await room.says(new)
    sent = len(room.wire.sent)
    for upto in (old, 0, new, 3):
        await room.says(upto)
    assert (room.window.acknowledged, len(room.wire.sent)) == (new, sent)
    assert room.disputes == [(False, room.disputes[0][1])], "told once that both agree"


@pytest.mark.parametrize(
    ("changes", "dispute"),
    [
        ({"chain": "ab" * 32}, "another chain at sequence 20"),
        ({"upto_seq": COUNT + 1}, f"up to sequence {COUNT + 1}, but the journal ends at {COUNT}"),
        ({"upto_seq": 0, "chain": "00" * 32}, "another chain at sequence 0"),
        ({"chain": "ab" * 32, "resend_from": 5}, "another chain at sequence 20"),
        ({"journal_id": uuid7()}, None),
    ],
)
async def test_a_word_that_does_not_agree_changes_nothing(
    room: UploadRoom, changes: dict[str, object], dispute: str | None
) -> None:
    await room.connect()
    sent = room.wire.spans()
    await room.says(20, **changes)
    await room.pass_time(GATHER_S)
    assert (room.window.acknowledged, room.delivered, room.wire.spans()) == (0, 0, sent)
    assert [active for active, _detail in room.disputes] == [True] * (dispute is not None)
    assert dispute is None or dispute in room.disputes[0][1]


async def test_a_dispute_is_over_when_both_agree_beyond_it(room: UploadRoom) -> None:
    await room.connect()
    await room.says(50, chain="ab" * 32)
    await room.says(49)
    assert [active for active, _detail in room.disputes] == [True], "that is before it"
    await room.says(50)
    assert [active for active, _detail in room.disputes] == [True, False]


@pytest.mark.parametrize("asked", [31, 12])
async def test_a_collector_that_lost_entries_is_sent_them_again(room: UploadRoom, asked: int) -> None:
    await room.connect()
    for _ in range(3):
        await room.says(room.wire.sent[-1].span[1])
    await room.pass_time(GATHER_S)
    assert room.delivered == room.window.acknowledged > 100
    await room.says(30, resend_from=asked)
    await room.pass_time(GATHER_S)
    assert room.delivered == asked - 1, "the mark follows the collector's word back"
    assert [span[0] for span in room.wire.spans()].count(asked) == 1
    assert room.window.messages == WINDOW
    await room.says(room.wire.sent[-1].span[1])
    assert room.window.acknowledged == room.wire.spans()[-WINDOW - 1][1]
    assert all(active is False for active, _detail in room.disputes)


async def test_every_message_of_a_window_asking_for_the_same_is_answered_once(room: UploadRoom) -> None:
    await room.connect()
    for _ in range(7):
        await room.says(0, resend_from=1)
    assert [span[0] for span in room.wire.spans()].count(1) == 2
    await room.pass_time(SAME_WISH_S)
    await room.says(0, resend_from=1)
    assert [span[0] for span in room.wire.spans()].count(1) == 3


async def test_a_wish_beyond_what_it_holds_is_read_as_what_it_lacks(room: UploadRoom) -> None:
    await room.connect()
    await room.says(10, resend_from=90)
    assert room.window.acknowledged == 10
    assert room.wire.spans()[WINDOW][0] == 11


def _retain(room: UploadRoom, first: int) -> None:
    """Retention has removed everything before ``first``."""
    (digest,) = room.db.execute("SELECT hash FROM entries WHERE sequence = ?", (first - 1,)).fetchone()
    room.db.execute("DELETE FROM entries WHERE sequence < ?", (first,))
    move_anchor(room.db, Anchor(first - 1, digest))


async def test_what_retention_removed_is_named_and_the_rest_is_sent(room: UploadRoom) -> None:
    _retain(room, 101)
    marks.set_delivered(room.db, 200)
    await room.connect()
    assert room.wire.spans()[0][0] == 201
    await room.says(50, resend_from=51)
    assert room.disputes == [(True, "the collector lacks sequences 51 to 100, which are gone here, too")]
    assert room.wire.spans()[WINDOW][0] == 101
    await room.pass_time(GATHER_S)
    assert room.delivered == 50, "never more than the collector says it holds"
    await room.says(150)
    assert room.window.acknowledged == 150
    assert len(room.disputes) == 1, "later agreement does not bring them back"


async def test_after_retention_the_chain_is_compared_at_its_anchor(room: UploadRoom) -> None:
    ack = room.good_ack(100)
    _retain(room, 101)
    await room.connect()
    await room.acknowledge({**ack, "chain": "ab" * 32})
    assert room.window.acknowledged == 0
    await room.acknowledge(ack)
    assert room.window.acknowledged == 100
    await room.says(40)  # nothing here to compare it with, and it asks for nothing
    assert room.window.acknowledged == 100


async def test_a_hole_parts_messages(room: UploadRoom) -> None:
    room.db.execute("DELETE FROM entries WHERE sequence BETWEEN 6 AND 8")
    await room.connect()
    assert room.wire.spans()[:2] == [(1, 5), (9, room.wire.spans()[1][1])]
    await room.says(5, resend_from=6)
    assert room.disputes[1:] == [(True, "the collector lacks sequences 6 to 8, which are gone here, too")]
    assert room.wire.spans()[WINDOW][0] == 9


async def test_a_journal_that_continues_another_takes_the_collectors_word_about_its_parent(room: UploadRoom) -> None:
    parent = room.good_ack(300)
    marks.set_delivered(room.db, 350)
    marks.set_backed_up(room.db, COUNT)
    base = Anchor(300, bytes.fromhex(parent["chain"]))
    move_anchor(room.db, Anchor(0, bytes.fromhex(room.good_ack(0)["chain"])))
    room.db.execute("DELETE FROM entries WHERE sequence > 300")
    continue_journal(room.db, uuid7(), base, room.clock.now(), cause="restored")
    assert marks.marks(room.db) == marks.Marks(300, 300), "copies of what was after the base are no copies of ours"
    marks.set_delivered(room.db, 250)
    await room.connect()
    assert json.loads(room.wire.sent[0].payload)["journal_id"] == room.good_ack(300)["journal_id"]
    assert room.wire.spans()[0][0] == 251
    await room.acknowledge(parent)  # of the journal before
    assert room.window.acknowledged == 250
    await room.says(280)
    assert room.window.acknowledged == 280
    await room.says(0, resend_from=1)  # one that never saw the parent, with the beginning of this one
    assert room.wire.spans()[-1][0] > 1
    assert 1 in [span[0] for span in room.wire.spans()]


async def test_a_journal_that_is_replaced_while_it_runs_goes_on_from_its_own_mark(
    journal: tuple[Path, list[EntryItem]], room: UploadRoom
) -> None:
    room.db.execute("DELETE FROM entries WHERE sequence > 90")
    await room.connect()
    await room.says(80)
    new, (digest,) = uuid7(), room.db.execute("SELECT hash FROM entries WHERE sequence = 60").fetchone()
    room.db.execute("DELETE FROM entries WHERE sequence > 60")
    continue_journal(room.db, new, Anchor(60, digest), room.clock.now(), cause="rebuilt")
    await room.add(journal[1][60:65])
    assert room.journals_told == 1, "the birth message is published again"
    sent = [json.loads(one.payload) for one in room.wire.sent]
    assert next(one["from_seq"] for one in sent if one["journal_id"] == new) == 1, "of the old one no mark was stored"
    await room.says(65)
    await room.pass_time(GATHER_S)
    assert room.delivered == 65


@pytest.mark.parametrize(
    ("payload", "retained", "cause"),
    [
        ("good", True, "retained_ack"),
        ("operator", False, "no_collector"),
        ("stranger", False, "no_collector"),
        ("other terminal", False, "other_terminal"),
        ("name twice", False, "unreadable_ack"),
        ("unknown field", False, "unreadable_ack"),
        ("no hash", False, "unreadable_ack"),
        ("an order", False, "no_envelope"),
        ("rubbish", False, "no_envelope"),
    ],
)
async def test_what_no_collector_signed_for_this_terminal_is_refused_and_counted(
    room: UploadRoom, payload: str, retained: bool, cause: str
) -> None:
    await room.connect()
    good = room.good_ack(20)
    content = msgspec.json.encode(good)
    offered = {
        "good": signed_ack(good),
        "operator": signed_ack(good, (orders.OPERATOR, orders.ROOT)),
        "stranger": signed_ack(good, (orders.STRANGER,)),
        "other terminal": signed_ack({**good, "terminal": "T-0002"}),
        "name twice": orders.sign_bytes(content[:-1] + b',"upto_seq":5}', (COLLECTOR,), _ACK),
        "unknown field": signed_ack({**good, "more": 1}),
        "no hash": signed_ack({**good, "chain": "xyz"}),
        "an order": orders.sign_bytes(content, (COLLECTOR,)),
        "rubbish": b"\xff{",
    }[payload]
    room.upload.take(offered, retained)
    await room.pass_time(GATHER_S)
    assert (room.refused, room.window.acknowledged, room.delivered) == ([cause], 0, 0)
    assert room.disputes == []


async def test_a_flood_of_authentic_words_is_bounded(room: UploadRoom) -> None:
    await room.connect()
    word = signed_ack(room.good_ack(20))
    for _ in range(MAX_ACKS * 3):
        room.upload.take(word, False)
    assert len(room.upload._acks) == MAX_ACKS
    await room.settle()
    assert room.window.acknowledged == 20
