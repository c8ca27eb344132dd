"""Only what is old, copied and settled leaves, from the beginning on; what is left is whole and still makes sense."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.errors import TransactionConflict
from agent.store import batch_checks, check_file, rebuild, retention
from agent.store.anchor import anchor
from agent.store.database import Worth
from agent.store.retention import DAY_S, FIRST_AFTER_S, Retention, remove
from agent.store.sqlite import open_readonly
from tests.kit.kept_journal import KEEP_DAYS, kept
from tests.kit.store_records import open_journal, sale, settlement


async def test_entries_leave_once_they_are_old_and_copied_and_the_rest_is_whole(tmp_path: Path) -> None:
    async with kept(tmp_path) as at:
        await at.days(20)
        assert await at.remove_old() == 0  # nothing has a copy
        await at.copied(4)
        assert await at.remove_old() == 4
        await at.copied(20)
        assert await at.remove_old() == 6  # of the newest day's 20, ten days must stay
        assert await at.sequences() == list(range(11, 21))
        verified = await at.store.journal.verify()
        assert (verified.intact, verified.upto_sequence, verified.missing) == (True, 20, [])
        assert at.told >= 2
        assert await at.store.store(sale()) == 21
        assert await at.remove_old() == 0 or (await at.sequences())[0] == 12
    async with open_journal(tmp_path) as store:  # and so it is after a start
        assert (await store.journal.verify()).intact
        assert await store.store(sale(stan="000999")) == 22


async def test_a_journal_of_which_everything_left_goes_on_where_it_was(tmp_path: Path) -> None:
    async with kept(tmp_path) as at:
        [first] = await at.days(1)
        at.clock.advance(30 * DAY_S)
        await at.store.store(sale(state="declined", stan="000001"))
        await at.copied(2)
        assert await at.remove_old() == 1
        await at.store.database.write(lambda db: db.execute("DELETE FROM entries"), worth=Worth.AUDIT)
        before = await at.store.database.read(anchor)
        assert before.sequence == 1
        assert await at.store.journal.get(first["transaction_id"]) is None


async def test_a_jump_of_the_clock_makes_nothing_leave(tmp_path: Path) -> None:
    async with kept(tmp_path) as at:
        await at.days(5)
        await at.copied(1000)
        at.clock.set_wall(datetime(2040, 1, 1, tzinfo=UTC))
        assert await at.remove_old() == 0
        await at.store.store(sale(state="declined"))  # its own time is wrong by years: that is a leap, not age …
        assert await at.remove_old() == 5  # … but 31 days of it count
        at.clock.set_wall(datetime(1970, 1, 1, tzinfo=UTC))
        await at.days(3)
        at.clock.set_wall(datetime(2040, 1, 2, tzinfo=UTC))
        assert await at.remove_old() == 0


async def test_a_clock_without_a_battery_makes_nothing_old_however_often_it_is_switched_on(tmp_path: Path) -> None:
    async with kept(tmp_path) as at:
        at.retention = Retention(at.store.database, at.clock, keep_days=60, on_removed=lambda: None)
        await at.copied(1000)
        for day in range(1, 21):
            at.clock.set_wall(datetime(1970, 1, 1, tzinfo=UTC))  # until the network tells the time
            for _ in range(2):
                await at.store.store(sale(state="declined"))
                at.clock.advance(20)
            at.clock.set_wall(datetime(2026, 11, day, tzinfo=UTC))
            await at.days(1)
        assert await at.remove_old() == 0, "twenty days have passed, not sixty"


async def test_with_a_year_to_keep_a_leap_of_the_clock_costs_nothing(tmp_path: Path) -> None:
    async with kept(tmp_path) as at:
        at.retention = Retention(at.store.database, at.clock, keep_days=365, on_removed=lambda: None)
        await at.days(5)
        await at.copied(1000)
        for year in (2040, 2060, 1971, 2080):
            at.clock.set_wall(datetime(year, 1, 1, tzinfo=UTC))
            await at.days(2)
            assert await at.remove_old() == 0
        await at.days(200)
        assert await at.remove_old() == 0


HOLDING = [
    ([], "unknown"),
    ([], "reversing"),
    (["reversing"], "reversal_failed"),
    ([], "approved"),
    (["approved"], "voided"),
    (["approved"], "refunded"),
]


@pytest.mark.parametrize(("before", "state"), HOLDING)
async def test_the_beginning_ends_before_what_must_stay(tmp_path: Path, before: list[str], state: str) -> None:
    async with kept(tmp_path) as at:
        await at.days(2)
        one = sale(batch_no="000005", stan="000777")
        for each in ["sent", *before, state]:
            await at.store.store({**one, "state": each})
        await at.days(30)
        await at.copied(1000)
        assert await at.remove_old() == 2  # also its first entries stay
        assert await at.remove_old() == 0
        ends = {"unknown": "declined", "reversing": "reversed", "reversal_failed": "reversed"}
        if state in ends:
            await at.store.store({**one, "state": ends[state]})
        else:
            await at.store.store(settlement(batch_no="000005", state="approved", balanced=False))
            assert await at.remove_old() == 0
            await at.store.store(settlement(batch_no="000005"))
        assert await at.remove_old() > 2 + len(before)
        assert (await at.store.journal.verify()).intact


@pytest.mark.parametrize("state", ["declined", "cancelled", "reversed", "settled", "created", "sent"])
async def test_what_is_over_or_never_began_holds_nothing(tmp_path: Path, state: str) -> None:
    async with kept(tmp_path) as at:
        await at.store.store(sale(state=state))
        await at.days(15)
        await at.copied(1000)
        assert await at.remove_old() > 1


async def test_what_is_left_of_a_transaction_still_reads(tmp_path: Path) -> None:
    async with kept(tmp_path) as at:
        one = sale(state="sent", batch_no="000003")
        await at.store.store(one)
        await at.store.store({**one, "state": "approved"})
        await at.store.store(settlement(batch_no="000003"))
        other = sale(state="declined", stan="000444")
        await at.store.store(other)
        await at.days(20)
        await at.store.store({**one, "state": "settled"})
        with pytest.raises(TransactionConflict):
            await at.store.store({**other, "amount_minor": 1})
        await at.copied(1000)
        assert await at.remove_old() >= 4
        view = await at.store.journal.get(one["transaction_id"])
        assert view is not None
        assert [item.record["state"] for item in view.history] == ["settled"]
        assert (view.current["state"], view.copies.backup) == ("settled", True)
        view = await at.store.journal.get(other["transaction_id"])
        assert view is not None  # only a content that contradicts is left, and its mark says what it contradicted
        assert [(item.record["amount_minor"], item.mark and item.mark.conflict_with) for item in view.history] == [
            (1, 4)
        ]


async def test_a_damaged_entry_is_evidence_and_stays(tmp_path: Path) -> None:
    async with kept(tmp_path) as at:
        await at.days(20)
    with sqlite3.connect(tmp_path / "agent.db") as db:
        db.execute("UPDATE entries SET record = replace(record, '12800', '12801') WHERE sequence = 4")
    db.close()
    async with kept(tmp_path) as at:
        await at.copied(20)
        assert await at.remove_old() == 3
        assert await at.remove_old() == 0
        assert not (await at.store.journal.verify()).intact


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_hole_is_passed_only_where_it_is_written_down(tmp_path: Path, is_known: bool) -> None:
    async with kept(tmp_path) as at:
        await at.days(20)
    with sqlite3.connect(tmp_path / "agent.db") as db:
        db.execute("DELETE FROM entries WHERE sequence IN (4, 5, 6)")
        if is_known:
            db.executemany("INSERT INTO missing VALUES (?, ?, 'damage')", [(4, 4), (5, 6)])
        db.execute("INSERT INTO missing VALUES (9, 30, 'damage')")
    db.close()
    async with kept(tmp_path) as at:
        await at.copied(20)
        assert await at.remove_old() == (10 if is_known else 3)
        assert (await at.store.journal.verify()).intact == is_known
        left = await at.store.database.read(lambda db: db.execute("SELECT from_seq, upto_seq FROM missing").fetchall())
        assert left == ([(11, 30)] if is_known else [(9, 30)])


async def test_a_batch_that_was_compared_is_known_to_be_partial_and_forgotten_with_its_settlement(
    tmp_path: Path,
) -> None:
    batch = batch_checks.Batch("acquirer-a/104290070110001/10000001", "000003")
    async with kept(tmp_path) as at:
        await at.store.store(sale(batch_no="000003"))
        await at.days(5)
        await at.store.store(settlement(batch_no="000003"))
        check = batch_checks.Check(7, 7, "differs")
        await at.store.database.write(lambda db: batch_checks.keep_check(db, batch, check), worth=Worth.AUDIT)
        await at.days(10)
        await at.copied(1000)
        assert await at.remove_old() == 6
        found = await at.store.database.read(lambda db: batch_checks.check_of(db, batch))
        assert found == batch_checks.Check(7, 7, "differs", is_partial=True)
        await at.days(3)
        assert await at.remove_old() > 0
        assert await at.store.database.read(lambda db: batch_checks.check_of(db, batch)) is None


async def test_verifying_goes_on_while_entries_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.store.transactions._ENTRIES_PER_READ", 3)
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 4)
    async with kept(tmp_path) as at:
        await at.days(60)
        await at.copied(60)
        verifying = asyncio.create_task(at.store.journal.verify())
        assert await at.remove_old() == 50
        assert (await verifying).intact
        assert at.store.alarms == []


@pytest.mark.parametrize("piece", [1, 3, 5000])
async def test_a_child_that_checks_the_file_meanwhile_finds_it_whole(
    tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pieces see the beginning move on; to take that for a hole would have the file set aside."""
    monkeypatch.setattr(check_file, "ENTRIES_PER_READ", piece)
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 4)
    async with kept(tmp_path) as at:
        await at.days(60)
        await at.copied(60)
        checks = asyncio.create_task(asyncio.to_thread(_check_again_and_again, at.store.path, 30))
        await at.remove_old()
        for found in await checks:
            assert (found.intact, found.upto_sequence, found.damage) == (True, 60, None)
    reader = open_readonly(tmp_path / "agent.db")
    expected = check_file.Expected(0, b"", {}, [], 60)  # as read before anything had left
    assert check_file._chain(check_file._entries(reader, expected), expected).intact
    reader.close()


def _check_again_and_again(path: Path, times: int) -> list[check_file.Finding]:
    return [check_file.check(path) for _ in range(times)]


async def test_nothing_leaves_while_entries_come_back(tmp_path: Path) -> None:
    state = rebuild.Rebuild((), "x", "x", "x", None, 20, True, 0, "", (), 5)
    async with kept(tmp_path) as at:
        await at.days(20)
        await at.copied(20)
        await at.store.database.write(lambda db: rebuild.put_state(db, state), worth=Worth.RUN)
        assert await at.remove_old() == 0
        await at.store.database.write(lambda db: rebuild.finish(db, [], None), worth=Worth.RUN)
        assert await at.remove_old() == 10


async def test_it_begins_half_an_hour_after_a_start_and_comes_again_once_a_day(tmp_path: Path) -> None:
    async with kept(tmp_path) as at:
        await at.days(15)
        await at.copied(5)
        task = asyncio.create_task(at.retention.run())
        await asyncio.sleep(0)
        written = at.store.database.metrics().commits
        at.clock.advance(FIRST_AFTER_S - 1)
        await asyncio.sleep(0.02)
        assert at.store.database.metrics().commits == written

        async def until_first_is(sequence: int) -> None:
            async with asyncio.timeout(20):
                while (await at.sequences())[0] != sequence:
                    at.clock.advance(1.0)
                    await asyncio.sleep(0.001)

        await until_first_is(6)
        for _ in range(20):  # it rests a while, finds nothing more, and sleeps for a day
            at.clock.advance(600.0)
            await asyncio.sleep(0.005)
        assert at.clock.sleeping == 1
        await at.store.store(sale(state="declined", stan="000999"))
        await at.copied(16)
        at.clock.advance(DAY_S)
        await until_first_is(7)
        task.cancel()
        await asyncio.wait([task])


async def test_a_piece_is_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 5)
    async with kept(tmp_path) as at:
        await at.days(20)
        await at.copied(20)
        found = await at.store.database.write(lambda db: remove(db, KEEP_DAYS * 86_400_000), worth=Worth.OUTBOX)
        assert (found.before.sequence, found.upto.sequence) == (0, 5)
        assert await at.sequences() == list(range(6, 21))
        assert (await at.store.database.read(anchor)).sequence == 5
