"""The upload over a real journal: order, window, resending, the rate, a store that does not answer."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agent.contract.journal_upload import RESEND_S, WINDOW, EntryBatch
from agent.contract.journal_views import EntryItem
from agent.contract.publication import SOFT_LIMIT_BYTES
from agent.errors import PublishRefused, StoreFull, StoreUnavailable
from agent.store.upload_rows import ENTRIES_LIMIT
from agent.uplink.upload import GATHER_S, MAX_WITHOUT_PUBACK
from agent.uplink.upload_window import HOLD_FIRST_S
from tests.kit.upload_room import COUNT, UploadRoom, all_entries, open_copy


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
