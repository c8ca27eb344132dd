"""The upload over a real journal: order, window, resending, every rule of acknowledgements, the rate."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from agent.contract.journal_upload import RESEND_S, WINDOW, EntryBatch
from agent.contract.journal_views import EntryItem
from agent.contract.publication import SOFT_LIMIT_BYTES
from agent.errors import PublishRefused, StoreFull, StoreUnavailable
from agent.runtime.identifiers import uuid7
from agent.store import marks
from agent.store.anchor import Anchor, move_anchor
from agent.store.journals import continue_journal
from agent.store.upload_rows import ENTRIES_LIMIT
from agent.uplink.upload import GATHER_S, MAX_ACKS, MAX_WITHOUT_PUBACK
from agent.uplink.upload_window import HOLD_FIRST_S, SAME_WISH_S
from tests.kit import orders
from tests.kit.collector import COLLECTOR, signed_ack
from tests.kit.upload_room import UploadRoom, all_entries, make_journal, open_copy

COUNT = 400


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EntryItem]]:
    folder = tmp_path_factory.mktemp("journal")
    return folder, make_journal(folder, COUNT)


@pytest.fixture
async def room(journal: tuple[Path, list[EntryItem]], tmp_path: Path) -> AsyncIterator[UploadRoom]:
    one = UploadRoom(open_copy(journal[0], tmp_path / "copy"))
    yield one
    await one.cut()
    one.close()


async def test_entries_go_in_order_without_a_hole_as_lists_show_them_and_fill_messages(room: UploadRoom) -> None:
    await room.connect()
    while room.window.acknowledged < COUNT:
        await room.says(room.wire.sent[-1].span[1])
    batches = [msgspec.json.decode(one.payload, type=EntryBatch) for one in room.wire.sent]
    assert [item for batch in batches for item in batch.entries] == all_entries(room.db)
    assert all(batch.from_seq == batch.entries[0].seq for batch in batches)
    sizes = [len(one.payload) for one in room.wire.sent]
    assert max(sizes) <= SOFT_LIMIT_BYTES
    assert min(sizes[:-1]) > SOFT_LIMIT_BYTES - 1024, "as many as fit"


async def test_no_more_than_eight_messages_are_beyond_the_last_acknowledgement(room: UploadRoom) -> None:
    await room.connect()
    assert len(room.wire.sent) == WINDOW
    await room.pass_time(RESEND_S - 1)
    assert len(room.wire.sent) == WINDOW
    first, second = room.wire.spans()[:2]
    await room.says(first[1])
    assert len(room.wire.sent) == WINDOW + 1
    await room.says(second[0])  # in the middle of a message: it still counts
    assert len(room.wire.sent) == WINDOW + 1
    await room.says(second[1])
    assert len(room.wire.sent) == WINDOW + 2
    assert room.wire.spans() == sorted(set(room.wire.spans())), "nothing twice"


async def test_a_puback_marks_nothing(room: UploadRoom) -> None:
    await room.connect()
    assert all(one.answer.result() == 0 for one in room.wire.sent)
    await room.pass_time(GATHER_S * 3)
    assert (room.delivered, room.commits) == (0, 0)


async def test_few_wait_for_puback_so_that_others_have_the_link(room: UploadRoom) -> None:
    await room.connect()
    await room.cut()
    await room.connect()
    room.wire.puback = None
    await room.says(room.good_ack(COUNT)["upto_seq"] // 2)
    waiting = [one for one in room.wire.sent if not one.answer.done()]
    assert len(waiting) == MAX_WITHOUT_PUBACK
    waiting[0].answer.set_result(0)
    await room.settle()
    assert len([one for one in room.wire.sent if not one.answer.done()]) == MAX_WITHOUT_PUBACK


async def test_what_waits_in_the_outbox_goes_first(room: UploadRoom) -> None:
    room.outbox_is_empty.clear()
    await room.connect()
    assert room.wire.sent == []
    room.outbox_is_empty.set()
    await room.settle()
    assert len(room.wire.sent) == WINDOW


async def test_after_a_minute_without_a_word_one_probe_and_with_a_word_the_window(room: UploadRoom) -> None:
    await room.connect()
    end = room.wire.spans()[0][1]
    await room.says(end)
    before = len(room.wire.sent)
    for probe in range(1, 5):
        await room.pass_time(RESEND_S - 0.1)
        assert len(room.wire.sent) == before + probe - 1
        await room.pass_time(0.1)
        assert len(room.wire.sent) == before + probe, "one message alone"
        assert room.wire.spans()[-1][0] == end + 1, "from the last acknowledgement"
    spans = room.wire.spans()[before:]
    assert spans[0][1] > end + 10
    assert spans[1:] == [(end + 1, end + 1)] * 3, "later ones have one entry"
    await room.says(end + 1)
    assert len(room.wire.sent) == before + 4 + WINDOW
    assert room.wire.spans()[-1][1] > end + 100


async def test_a_new_connection_begins_after_the_last_acknowledgement(room: UploadRoom) -> None:
    await room.connect()
    await room.says(room.wire.spans()[2][1])
    await room.connect()
    assert room.wire.spans()[0][0] == room.window.acknowledged + 1
    assert len(room.wire.sent) == WINDOW


async def test_new_entries_are_sent_when_they_are_committed_and_nothing_ticks_before(
    journal: tuple[Path, list[EntryItem]], room: UploadRoom
) -> None:
    room.db.execute("DELETE FROM entries WHERE sequence > 10")
    await room.connect()
    await room.says(10)
    await room.pass_time(GATHER_S)
    assert room.delivered == 10
    assert room.clock.sleeping == 0, "no timer while there is nothing to do"
    await room.add(journal[1][10:11])
    assert room.wire.spans()[-1] == (11, 11)


async def test_the_mark_is_stored_once_for_many_acknowledgements_and_at_the_end_of_a_link(room: UploadRoom) -> None:
    await room.connect()
    for _ in range(6):
        await room.says(room.wire.spans()[-WINDOW][1])
    assert (room.commits, room.delivered) == (0, 0)
    await room.pass_time(GATHER_S)
    assert (room.commits, room.delivered) == (1, room.window.acknowledged)
    await room.says(room.wire.sent[-1].span[1])
    await room.cut()
    assert (room.commits, room.delivered) == (2, room.window.acknowledged)


@pytest.mark.parametrize("reason", [0x10, 0x80, 0x87, 0x97])
async def test_what_the_broker_does_not_pass_on_slows_down_and_is_sent_again(room: UploadRoom, reason: int) -> None:
    """0x10: No matching subscribers; 0x87: Not authorized; 0x97: Quota exceeded."""
    await room.connect()
    room.wire.puback = None
    await room.says(room.wire.spans()[0][1])
    good = len(room.wire.sent) - 1
    room.wire.sent[-1].answer.set_result(reason)
    await room.settle()
    room.wire.puback = reason
    for wait_s in (HOLD_FIRST_S, 2 * HOLD_FIRST_S, 4 * HOLD_FIRST_S, 8 * HOLD_FIRST_S, RESEND_S, RESEND_S):
        good += 1
        await room.pass_time(wait_s - 1)
        assert len(room.wire.sent) == good, "none meanwhile"
        await room.pass_time(1)
        assert len(room.wire.sent) == good + 1, "then one"
        assert room.wire.spans()[-1][0] == room.window.acknowledged + 1
    room.wire.puback = 0
    await room.says(room.wire.spans()[-1][1])
    assert room.window.messages == WINDOW
    assert not any(active for active, _detail in room.disputes)


async def test_a_message_that_this_broker_takes_no_packet_for_waits_and_harms_nobody(room: UploadRoom) -> None:
    await room.cut()
    await room.connect()
    room.wire.refuses = PublishRefused("too large", reason_code=0x95)
    await room.says(room.wire.spans()[0][1])
    assert room.window.messages == 0
    room.wire.refuses = None
    await room.pass_time(RESEND_S)
    assert room.wire.spans()[-1][0] == room.window.acknowledged + 1


async def test_messages_are_cut_to_what_the_broker_takes(room: UploadRoom) -> None:
    await room.connect()
    room.wire.limits = room.wire.limits._replace(maximum_packet_bytes=2000)
    await room.says(room.wire.spans()[0][1])
    assert len(room.wire.sent[-1].payload) < 2000
    room.wire.limits = room.wire.limits._replace(maximum_packet_bytes=10)
    await room.says(room.wire.spans()[1][1])
    first, last = room.wire.spans()[-1]
    assert first == last, "at least one entry"


async def test_no_more_entries_go_out_than_the_rate_allows(
    journal: tuple[Path, list[EntryItem]], tmp_path: Path
) -> None:
    room = UploadRoom(open_copy(journal[0], tmp_path / "copy"), entries_per_s=20.0)
    await room.connect()
    began, seconds = room.window.sent, 0.0
    assert began < 2 * ENTRIES_LIMIT, "one message at once, and what was left of the credit"
    while room.window.sent < COUNT:
        await room.says(room.window.sent)
        await room.pass_time(0.05)
        seconds += 0.05
    assert 0.9 < (COUNT - began) / seconds / 20.0 < 1.1
    await room.cut()
    room.close()


# ── acknowledgements ───────────────────────────────────────────────────────────────────────────────────────────────


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


# ── a store that does not answer ───────────────────────────────────────────────────────────────────────────────────


async def test_a_store_that_cannot_be_read_is_asked_again(room: UploadRoom) -> None:
    room.store_fails = StoreUnavailable("not now")
    await room.connect()
    assert room.wire.sent == []
    room.store_fails = None
    await room.pass_time(10.0)
    assert len(room.wire.sent) == WINDOW


async def test_a_full_disk_keeps_the_mark_and_not_the_entries(room: UploadRoom) -> None:
    await room.connect()
    deliver = room.upload._stream.deliver
    full = True

    async def failing(journal_id: str, upto: int) -> bool:
        if full:
            raise StoreFull("the disk is full")
        return await deliver(journal_id, upto)

    room.upload._stream = msgspec.structs.replace(room.upload._stream, deliver=failing)
    for _ in range(4):
        await room.says(room.wire.sent[-1].span[1])
        await room.pass_time(GATHER_S)
    assert room.delivered == 0
    assert room.window.acknowledged > 200
    full = False
    await room.pass_time(10.0)
    assert room.delivered == room.window.acknowledged
    await room.cut()


_ACK = "application/vnd.pos-agent.ack.v1+json"
