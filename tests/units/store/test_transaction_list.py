"""Lists by time, batch, state and STAN: right however the clock was set, stable while entries come, and never long."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.contract.journal_views import EntryItem
from agent.store import times, transaction_list, transaction_summary
from agent.store.schema import initialise
from agent.store.sqlite import Connection
from agent.store.transaction_list import FEW, TransactionFilters, entries
from agent.store.transaction_summary import Summing
from tests.kit.manual_clock import ManualClock
from tests.kit.store_records import OpenJournal, open_journal, sale

BEGAN = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
ROWS = 100_000


def ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


async def everything(opened: OpenJournal, filters: TransactionFilters, limit: int = 7) -> list[EntryItem]:
    items: list[EntryItem] = []
    cursor: str | None = None
    while True:
        page = await opened.journal.list(filters, limit, cursor)
        items += page.items
        cursor = page.next_cursor
        if cursor is None:
            return items


# ── time ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _set(clock: ManualClock, rng: random.Random) -> None:
    """What clocks do: they go on, start at 1970, are put right, leap ahead by years, are corrected a bit."""
    kind = rng.randrange(12)
    if kind == 0:
        clock.set_wall(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(100)))
    elif kind == 1:
        clock.set_wall(BEGAN + timedelta(days=rng.randrange(40)))
    elif kind == 2:
        clock.set_wall(BEGAN + timedelta(days=3650))
    elif kind == 3:
        clock.set_wall(clock.now() - timedelta(milliseconds=rng.randrange(2000)))
    else:
        clock.advance(rng.choice((0, 1, 3600, 86_400)))


@pytest.mark.parametrize("seed", range(4))
async def test_entries_are_found_by_their_time_however_the_clock_was_set(tmp_path: Path, seed: int) -> None:
    rng, clock = random.Random(seed), ManualClock(BEGAN)
    stored: list[int] = []
    async with open_journal(tmp_path, clock=clock) as opened:
        for number in range(120):
            _set(clock, rng)
            await opened.store(sale(stan=f"{number:06d}"))
            stored.append(ms(clock.now()))
        moments = [*rng.sample(stored, 8), 0, ms(BEGAN), ms(BEGAN) + 5 * 86_400_000, 2**45]
        for from_ms in (None, *moments):
            to_ms = rng.choice((None, *moments))
            for newest_first in (False, True):
                found = await everything(
                    opened, TransactionFilters(from_ms=from_ms, to_ms=to_ms, newest_first=newest_first), 50
                )
                expected = [
                    sequence
                    for sequence, at in enumerate(stored, 1)
                    if (from_ms is None or at >= from_ms) and (to_ms is None or at < to_ms)
                ]
                assert [item.seq for item in found] == (expected[::-1] if newest_first else expected)
        for at in moments:
            first_not_before = next((number for number, one in enumerate(stored) if one >= at), len(stored))
            assert await opened.journal.last_stored_before(at) == first_not_before


async def test_the_two_ends_of_a_time_are_at_or_after_and_before(tmp_path: Path) -> None:
    clock = ManualClock(BEGAN)
    async with open_journal(tmp_path, clock=clock) as opened:
        for number in range(3):
            await opened.store(sale(stan=f"{number:06d}"))
            clock.advance(1.0)
        second = ms(BEGAN) + 1000
        for from_ms, to_ms, expected in ((second, None, [2, 3]), (None, second, [1]), (second, second, [])):
            found = await everything(opened, TransactionFilters(from_ms=from_ms, to_ms=to_ms))
            assert [item.seq for item in found] == expected
        lines = (await opened.journal.summary(TransactionFilters(from_ms=second), 10)).items
        assert [(line.count, line.sum_minor) for line in lines] == [(2, 25600)]


def test_what_passed_is_what_entries_saw_pass(tmp_path: Path) -> None:
    """A clock that leaps ten years makes nothing ten years old; one that is set back makes nothing younger."""
    day = 86_400_000
    stored = [0, day, 2 * day, 3 * day, 3650 * day, 3651 * day, 4 * day, 5 * day]
    with closing(_file(tmp_path)) as db:
        db.executemany(_ROW, [_row(sequence, at=at) for sequence, at in enumerate(stored, 1)])
        times.note_steps(db, 1, len(stored))
        assert [row[0] for row in db.execute("SELECT sequence FROM clock_steps ORDER BY sequence")] == [5, 7]
        # From the newest back: a day to 7, nothing to 6, a day to 5, 31 for the leap to 4, a day each to 3, 2, 1.
        passed_days = [36, 35, 34, 33, 2, 1, 1, 0]
        for keep_days in range(1, 40):
            expected = max((n for n, passed in enumerate(passed_days, 1) if passed >= keep_days), default=0)
            assert times.last_passed(db, keep_days * day) == expected, keep_days


# ── paging ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("piece", [1, 3, 20_000])
async def test_pages_are_stable_while_entries_come_in(
    tmp_path: Path, piece: int, newest_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction_list, "ENTRIES_PER_READ", piece)
    rng = random.Random(piece)
    async with open_journal(tmp_path) as opened:
        for number in range(40):
            await opened.store(sale(stan=f"{number:06d}", state=rng.choice(("approved", "declined"))))
        for filters in (
            TransactionFilters(state="declined", newest_first=newest_first),
            TransactionFilters(batch_no="000001", newest_first=newest_first),
            TransactionFilters(batch_no="000001", state="declined", mid="104290070110001", newest_first=newest_first),
        ):
            there_before = [item.seq for item in await everything(opened, filters, 1000)]
            seen: list[int] = []
            cursor: str | None = None
            while True:
                page = await opened.journal.list(filters, 3, cursor)
                seen += [item.seq for item in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    break
                await opened.store(sale(stan=f"{rng.randrange(999_999):06d}", state="declined"))
                assert len(seen) < 400
                if not newest_first and len(seen) >= len(there_before):
                    break
            assert seen[: len(there_before)] == there_before
            assert len(seen) == len(set(seen))
            if newest_first:
                assert seen == there_before


async def test_looking_for_what_is_rare_ends_after_a_while_and_goes_on_by_its_cursor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction_list, "ENTRIES_PER_READ", 2)
    monkeypatch.setattr("agent.store.transactions._LOOK_FOR_S", -1.0)
    async with open_journal(tmp_path) as opened:
        for number in range(9):
            await opened.store(sale(stan=f"{number:06d}", state="approved" if number != 7 else "declined"))
        for newest_first in (False, True):
            filters = TransactionFilters(state="declined", newest_first=newest_first)
            page = await opened.journal.list(filters, 10)
            assert page.next_cursor is not None
            assert [item.seq for item in await everything(opened, filters)] == [8]


@pytest.mark.parametrize("piece", [1, 2, 5, 5000])
async def test_a_summary_in_pieces_is_that_of_one_moment(
    tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction_summary, "ENTRIES_PER_READ", piece)
    async with open_journal(tmp_path) as opened:
        lives = [sale(stan=f"{number:06d}", batch_no=f"00000{number % 3}", amount_minor=1) for number in range(30)]
        for life in lives:
            await opened.store(life)
        work = Summing(TransactionFilters(), 1000, None)
        page = await opened.database.read(work.step)
        for life in lives[::2]:
            await opened.store({**life, "state": "voided", "batch_no": "000009"})
        while page is None:
            page = await opened.database.read(work.step)
        assert [(line.batch_no, line.count) for line in page.items] == [(f"00000{batch}", 10) for batch in range(3)]


# ── a large journal: no read looks at more than a piece of it ──────────────────────────────────────────────────────
_ROW = (
    "INSERT INTO entries (sequence, at, transaction_id, state, attempt, type, binding, batch_no, stan, natural_rest,"
    " currency, amount_minor, record, hash) VALUES (?, ?, ?, ?, 1, 'sale', ?, ?, ?, '2/2026-11-21', '156', 1, ?, ?)"
)


def _row(sequence: int, **changes: Any) -> tuple[Any, ...]:
    values: dict[str, Any] = {
        "at": sequence * 1000,
        "id": f"{sequence:08d}-0000-7000-8000-000000000000",
        "state": "unknown" if sequence % 50_000 == 7 else "approved",
        "binding": "p/m/t",
        "batch": f"{sequence // 500:06d}" if sequence % 2 else "000000",
        "stan": f"{sequence % 50_000:06d}" if sequence % 4 else "000000",
        "record": '{"local_at":"2026-11-21T10:00:00+08:00"}',
        **changes,
    }
    return (sequence, *values.values(), bytes(32))


def _file(folder: Path) -> Connection:
    """An empty journal, as the store makes it."""
    db = sqlite3.connect(folder / "agent.db", factory=Connection)
    initialise(db, BEGAN)
    return db


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Half of the entries are of one batch, a quarter of one STAN, two have a rare state."""
    with closing(_file(tmp_path_factory.mktemp("large"))) as db:
        db.executemany(_ROW, (_row(sequence) for sequence in range(1, ROWS + 1)))
        db.commit()
        yield db


def _steps(db: Connection, work: Any) -> tuple[Any, int]:
    """The answer, and about how many steps SQLite's machine took for it."""
    count = 0

    def one_more() -> int:
        nonlocal count
        count += 1
        return 0

    db.set_progress_handler(one_more, 1000)
    answer = work(db)
    db.set_progress_handler(None, 0)
    return answer, count * 1000


FILTERS = [
    {"state": "unknown"},
    {"state": "created"},
    {"type": "refund"},
    {"currency": "840"},
    {"provider": "q"},
    {"batch_no": "000000", "state": "created"},
    {"batch_no": "000199", "stan": "000000"},
    {"batch_no": "999999"},
    {"stan": "000007"},
    {"stan": "000000", "state": "created"},
    {"transaction_id": "00000007-0000-7000-8000-000000000000", "state": "created"},
    {"from_ms": 75_000_000, "to_ms": 75_010_000},
    {"from_ms": 75_000_000, "state": "created"},
    {"from_ms": 10**13},
    {},
]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("wanted", FILTERS, ids=str)
def test_no_read_of_a_list_goes_through_the_whole_journal(
    large: Connection, wanted: dict[str, Any], newest_first: bool
) -> None:
    filters = TransactionFilters(**wanted, newest_first=newest_first)
    condition, values = transaction_list.conditions(filters)
    where = " AND ".join(["1", *condition])
    total = large.execute(f"SELECT count(*) FROM entries WHERE {where}", values).fetchone()[0]
    found, reads, cursor = 0, 0, None
    while reads < 40:
        page, steps = _steps(large, lambda db, cursor=cursor: entries(db, filters, 200, cursor))
        assert steps < 500_000, f"{steps} steps in one read"  # a look at every entry takes millions
        found += len(page.items)
        reads += 1
        cursor = page.next_cursor
        if cursor is None:
            assert found == total
            return
    assert total > found >= 40 * 100  # what is in most pieces comes in any number of pages


@pytest.mark.parametrize(
    ("wanted", "reads"),
    [({"stan": "000007"}, 1), ({"batch_no": "000199"}, 1), ({"from_ms": 75_000_000, "to_ms": 75_010_000}, 1)],
    ids=str,
)
def test_what_has_an_index_or_a_time_is_found_in_one_read(
    large: Connection, wanted: dict[str, Any], reads: int
) -> None:
    page, steps = _steps(large, lambda db: entries(db, TransactionFilters(**wanted), 1000, None))
    assert page.items
    assert page.next_cursor is None
    assert steps < 40_000 * reads


def test_the_indexes_are_those_the_file_has(large: Connection) -> None:
    for filters, index in (
        (TransactionFilters(stan="000007"), "entries_by_natural_key (stan=?)"),
        (TransactionFilters(batch_no="000007"), "entries_by_batch (batch_no=? AND rowid>? AND rowid<?)"),
        (TransactionFilters(transaction_id="x"), "entries_by_transaction (transaction_id=? AND rowid>? AND rowid<?)"),
        (TransactionFilters(state="created"), "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
    ):
        asked: list[str] = []
        large.set_trace_callback(asked.append)
        entries(large, filters, 10, None)
        large.set_trace_callback(None)
        plan = [row[3] for row in large.execute(f"EXPLAIN QUERY PLAN {asked[-1]}")]
        assert any(index in line for line in plan), plan


def test_a_few_entries_of_a_stan_are_sorted_and_many_are_read_in_order(large: Connection) -> None:
    assert large.execute("SELECT count(*) FROM entries WHERE stan = '000000'").fetchone()[0] > FEW
    seen: list[int] = []
    cursor: str | None = None
    for _ in range(3):
        page = entries(large, TransactionFilters(stan="000000"), 500, cursor)
        seen += [item.seq for item in page.items]
        cursor = page.next_cursor
    assert seen == list(range(4, 4 * len(seen) + 1, 4))


@pytest.mark.parametrize("wanted", [{}, {"batch_no": "000000"}, {"from_ms": 99_000_000}, {"state": "created"}], ids=str)
def test_no_read_of_a_summary_is_long(large: Connection, wanted: dict[str, Any]) -> None:
    work, reads = Summing(TransactionFilters(**wanted), 100, None), 0
    page = None
    while page is None:
        page, steps = _steps(large, work.step)
        assert steps < 600_000
        reads += 1
    if "batch_no" in wanted:
        assert [(line.count, line.sum_minor) for line in page.items] == [(ROWS // 2 + 249, ROWS // 2 + 249)]


def test_an_identifier_of_ours_is_no_pattern() -> None:
    condition, values = transaction_list.conditions(TransactionFilters(tid="00010001"))
    assert (condition, values) == (["binding GLOB ?"], ["*/*/00010001"])
    with closing(sqlite3.connect(":memory:")) as db:
        for binding, expected in (("a/b/00010001", 1), ("a/00010001/c", 0), ("00010001/b/c", 0)):
            assert db.execute("SELECT ? GLOB ?", (binding, values[0])).fetchone() == (expected,)
