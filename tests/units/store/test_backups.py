"""Rows of backups: how far a target is covered follows from them, and the mark moves with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from agent.errors import BadRequest
from agent.runtime.identifiers import uuid7
from agent.store import backups, marks, meta
from agent.store.backups import NewBackup
from agent.store.database import Connection, Worth
from tests.kit.store_records import OpenJournal, open_journal, sale

T = TypeVar("T")
BOTH = ("card", "vault")


@pytest.fixture(name="store")
async def _store(tmp_path: Path) -> AsyncIterator[OpenJournal]:
    async with open_journal(tmp_path) as store:
        for _ in range(20):
            await store.store(sale())
        yield store


async def _do(store: OpenJournal, job: Callable[[Connection], T]) -> T:
    return await store.database.write(job, worth=Worth.RUN)


async def _add(store: OpenJournal, first: int, last: int, target: str = "card", kind: str = "segment") -> str:
    identifier = uuid7()

    def job(db: Connection) -> None:
        journal_id = meta.journal_id(db)
        new = NewBackup(
            identifier,
            "snapshot" if kind == "snapshot" else "segment",
            target,
            f"f-{identifier}",
            journal_id,
            first,
            last,
            b"c" * 32,
            9,
            b"s" * 32,
            1000,
            2000,
        )
        backups.add(db, new, BOTH)
        backups.add(db, new, BOTH)  # the writer may do a job twice

    await _do(store, job)
    return identifier


async def _covered(store: OpenJournal) -> tuple[int, int, int]:
    return await store.database.read(
        lambda db: (
            backups.covered_upto(db, "card"),
            backups.covered_upto(db, "vault"),
            marks.marks(db).backed_up,
        )
    )


async def test_segments_that_meet_cover_and_the_best_target_is_the_mark(store: OpenJournal) -> None:
    await _add(store, 1, 5)
    await _add(store, 1, 3, "vault")
    assert await _covered(store) == (5, 3, 5)
    await _add(store, 7, 9)
    assert await _covered(store) == (5, 3, 5)
    await _add(store, 4, 8, "vault")
    assert await _covered(store) == (5, 8, 8)
    await _add(store, 6, 6)
    assert await _covered(store) == (9, 8, 9)


async def test_a_snapshot_covers_everything_before_it(store: OpenJournal) -> None:
    await _add(store, 1, 12, kind="snapshot")
    await _add(store, 13, 14)
    await _add(store, 16, 20)
    assert await _covered(store) == (14, 0, 14)


async def test_a_file_that_was_found_wrong_covers_nothing_until_it_is_right_again(store: OpenJournal) -> None:
    first, second = await _add(store, 1, 5), await _add(store, 6, 9)
    await _do(store, lambda db: backups.note_verified(db, [second], [(first, "the file is gone")], 3000, BOTH))
    assert await _covered(store) == (0, 0, 0)
    wrong = await store.database.read(lambda db: backups.item(db, first))
    assert wrong is not None
    assert (wrong.verified_at, wrong.problem) == (None, "the file is gone")
    await _do(store, lambda db: backups.note_verified(db, [first], [], 4000, BOTH))
    assert await _covered(store) == (9, 0, 9)


async def test_what_is_made_anew_in_place_of_a_bad_file_reaches_over_those_that_follow(store: OpenJournal) -> None:
    await _add(store, 1, 5)
    bad = await _add(store, 6, 10)
    await _add(store, 11, 15)
    await _add(store, 16, 20)
    await _do(store, lambda db: backups.note_verified(db, [], [(bad, "the file is gone")], 3000, BOTH))
    assert await _covered(store) == (5, 0, 5)
    await _add(store, 6, 18)
    assert await _covered(store) == (20, 0, 20)


async def test_what_is_forgotten_covers_nothing(store: OpenJournal) -> None:
    first = await _add(store, 1, 5)
    await _do(store, lambda db: backups.forget(db, [first, "no such id"], BOTH))
    assert await _covered(store) == (0, 0, 0)


async def test_files_of_another_journal_cover_nothing_of_this_one(store: OpenJournal) -> None:
    identifier = await _add(store, 1, 9)
    await _do(
        store, lambda db: db.execute("UPDATE backups SET journal_id = 'other' WHERE backup_id = ?", (identifier,))
    )
    standing = await store.database.read(lambda db: backups.standing(db, "card"))
    assert (standing.covered_upto, standing.last_entry, standing.snapshot_made_at_ms) == (0, 20, None)


async def test_a_target_that_is_not_configured_any_more_is_no_copy(store: OpenJournal) -> None:
    await _add(store, 1, 9, "former")
    assert (await _covered(store))[2] == 0


async def test_the_list_is_newest_first_and_pages_are_complete(store: OpenJournal) -> None:
    made = [await _add(store, n, n, "vault" if n % 3 == 0 else "card") for n in range(1, 11)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        items, cursor = await store.database.read(lambda db, cursor=cursor: backups.page(db, 3, cursor))  # type: ignore[misc]
        seen += [one.backup_id for one in items]
        if cursor is None:
            break
    assert seen == sorted(made, reverse=True)
    of_one, _ = await store.database.read(lambda db: backups.page(db, 50, None, "vault"))
    assert sorted(one.from_seq for one in of_one) == [3, 6, 9]
    assert [one.backup_id for one in await store.database.read(lambda db: backups.at_target(db, "vault"))] == [
        one.backup_id for one in of_one
    ]


@pytest.mark.parametrize("cursor", ["", "1", "' OR 1", "x" * 36])
async def test_a_cursor_of_another_kind_is_refused(store: OpenJournal, cursor: str) -> None:
    with pytest.raises(BadRequest):
        await store.database.read(lambda db: backups.page(db, 3, cursor))


async def test_since_when_backups_are_expected_is_kept(store: OpenJournal) -> None:
    assert await _do(store, lambda db: backups.expected_since_ms(db, 5000)) == 5000
    assert await _do(store, lambda db: backups.expected_since_ms(db, 9000)) == 5000
    assert await store.database.read(backups.last_verified_ms) is None
    await _add(store, 1, 5)
    assert await store.database.read(backups.last_verified_ms) is None  # a segment is no snapshot
    await _add(store, 1, 5, kind="snapshot")
    assert await store.database.read(backups.last_verified_ms) == 2000
