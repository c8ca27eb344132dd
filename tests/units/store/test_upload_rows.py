"""What goes into one message, and what an acknowledgement is held against, on a real file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agent.contract.journal_upload import EntryBatch
from agent.errors import StoreDamaged, StoreUnavailable, TransactionConflict
from agent.store import chain, marks, rebuild, upload_rows
from agent.store.anchor import Anchor, move_anchor
from agent.store.database import Worth
from agent.store.sqlite import Connection
from tests.kit.store_records import open_journal, sale


async def test_an_empty_journal_has_nothing_to_send_and_ends_where_it_begins(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        piece = await opened.database.read(lambda db: upload_rows.piece_after(db, 0, 8192))
        assert (piece.from_seq, piece.upto_seq, piece.payload) == (1, 0, b"")
        held = await opened.database.read(lambda db: upload_rows.held_against(db, 0, 1))
        assert (held.last, held.first_from) == (0, 1)
        assert set(held.chain) == {chain.genesis(held.journal_id).hex()}


async def test_marks_and_conflicts_travel_with_their_entries(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        first = sale()
        await opened.store(first)
        with pytest.raises(TransactionConflict):
            await opened.store({**first, "memo": "another"})
        piece = await opened.database.read(lambda db: upload_rows.piece_after(db, 0, 8192))
        batch = msgspec.json.decode(piece.payload, type=EntryBatch)
        assert [entry.mark.conflict_with if entry.mark else None for entry in batch.entries] == [None, 1]
        assert b'"mark"' not in piece.payload.split(b'"seq":2')[0], "left out where there is none"


async def test_an_entry_that_is_not_what_was_stored_stops_the_upload_and_not_the_agent(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        await opened.store(sale())

        def spoil(db: Connection) -> None:
            db.execute("UPDATE entries SET record = 'no JSON'")

        await opened.database.write(spoil, worth=Worth.AUDIT)
        with pytest.raises(StoreDamaged):
            await opened.database.read(lambda db: upload_rows.piece_after(db, 0, 8192))


async def test_a_mark_beyond_the_end_counts_only_up_to_it(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        await opened.store(sale())
        read = opened.database.read
        await opened.database.write(lambda db: marks.set_delivered(db, 9), worth=Worth.AUDIT)
        assert (await read(upload_rows.standing)).delivered == 1


async def test_a_mark_is_stored_for_its_own_journal_only(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        await opened.store(sale())
        own = (await opened.database.read(upload_rows.standing)).journal_id
        for journal_id, stored in (("0" * 36, False), (own, True)):
            done = await opened.database.write(
                lambda db, one=journal_id: upload_rows.deliver(db, one, 1),  # type: ignore[misc]
                worth=Worth.AUDIT,
            )
            assert done is stored
            assert (await opened.database.read(upload_rows.standing)).delivered == int(stored)


async def test_a_journal_emptied_by_retention_ends_at_its_anchor(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        for _ in range(3):
            await opened.store(sale())

        def retain(db: Connection) -> None:
            (digest,) = db.execute("SELECT hash FROM entries WHERE sequence = 3").fetchone()
            db.execute("DELETE FROM entries")
            move_anchor(db, Anchor(3, digest))

        await opened.database.write(retain, worth=Worth.AUDIT)
        held = await opened.database.read(lambda db: upload_rows.held_against(db, 3, 2))
        assert (held.last, held.first_from, len(held.chain)) == (3, 4, 1)


async def test_what_may_still_come_back_out_of_a_damaged_file_is_waited_for_and_not_called_gone(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        for _ in range(9):
            await opened.store(sale())
        state = rebuild.Rebuild((), "damage", "", "", None, 6, True, 0, "", (), 5)  # 5 and 6 are back

        def lose(db: Connection) -> None:
            db.execute("DELETE FROM entries WHERE sequence < 5")
            rebuild.put_state(db, state)

        await opened.database.write(lose, worth=Worth.AUDIT)
        read = opened.database.read
        with pytest.raises(StoreUnavailable):
            await read(lambda db: upload_rows.piece_after(db, 2, 8192))
        assert (await read(lambda db: upload_rows.piece_after(db, 4, 8192))).from_seq == 5
        assert (await read(lambda db: upload_rows.held_against(db, 2, 3))).first_from == 3
        await opened.database.write(lambda db: rebuild.finish(db, [(1, 4)], None), worth=Worth.AUDIT)
        assert (await read(lambda db: upload_rows.piece_after(db, 2, 8192))).from_seq == 5
        assert (await read(lambda db: upload_rows.held_against(db, 2, 3))).first_from == 5
