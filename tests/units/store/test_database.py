"""The writer: groups, order, poisoned jobs, cancelled callers; the reader's limit; what is refused at opening."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.errors import StoreDamaged, StoreUnavailable
from agent.runtime.clock import SystemClock
from agent.store import meta, schema
from agent.store.database import Connection, Database, Worth
from tests.kit.manual_clock import ManualClock


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "agent.db", SystemClock())
    opened.open()
    await opened.write(lambda db: db.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)"), worth=Worth.RUN)
    yield opened
    await opened.close()


def add(db: Connection, text: str) -> int:
    return int(db.execute("INSERT INTO notes (text) VALUES (?)", (text,)).lastrowid or 0)


async def texts(database: Database) -> list[str]:
    return await database.read(lambda db: [row[0] for row in db.execute("SELECT text FROM notes ORDER BY id")])


class Gate:
    """A job that holds the writer, so that what is submitted meanwhile becomes one group."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, _db: Connection) -> None:
        self.entered.set()
        assert self.opened.wait(30)


async def hold(database: Database) -> tuple[Gate, asyncio.Future[None]]:
    gate = Gate()
    future = database.submit(gate, worth=Worth.OUTBOX)
    await asyncio.to_thread(gate.entered.wait, 30)
    return gate, future


async def test_everything_in_flight_goes_into_one_commit_in_the_order_of_calls(database: Database) -> None:
    gate, held = await hold(database)
    before = database.metrics().commits
    futures = [database.submit(lambda db, n=n: add(db, str(n)), worth=Worth.TRANSACTION) for n in range(100)]  # type: ignore[misc]
    gate.opened.set()
    await held
    assert await asyncio.gather(*futures) == list(range(1, 101))
    assert database.metrics().commits == before + 2  # the gate's own, then all others
    assert database.metrics().largest_group == 100
    assert await texts(database) == [str(n) for n in range(100)]


async def test_a_group_never_exceeds_its_limit(tmp_path: Path) -> None:
    database = Database(tmp_path / "agent.db", SystemClock(), max_group=1)
    database.open()
    futures = [database.submit(lambda db: meta.put(db, "x", "y"), worth=Worth.RUN) for _ in range(20)]
    await asyncio.gather(*futures)
    assert database.metrics().commits == 20
    assert database.metrics().largest_group == 1
    await database.close()


async def test_a_poisoned_job_harms_only_itself(database: Database) -> None:
    def poison(db: Connection) -> None:
        add(db, "poison")
        raise LookupError("a bug")

    def wrong_sql(db: Connection) -> None:
        add(db, "poison")
        db.execute("INSERT INTO nowhere VALUES (1)")

    gate, held = await hold(database)
    good = [database.submit(lambda db: add(db, "good"), worth=Worth.TRANSACTION) for _ in range(3)]
    bad = database.submit(poison, worth=Worth.TRANSACTION)
    worse = database.submit(wrong_sql, worth=Worth.TRANSACTION)
    good += [database.submit(lambda db: add(db, "good"), worth=Worth.TRANSACTION) for _ in range(3)]
    gate.opened.set()
    await held
    assert await asyncio.gather(*good) == [1, 2, 3, 4, 5, 6]
    with pytest.raises(LookupError):
        await bad
    with pytest.raises(StoreUnavailable) as caught:
        await worse
    assert "nowhere" not in f"{caught.value} {caught.value.hint}"
    assert await texts(database) == ["good"] * 6
    assert database.metrics().failed_groups == 1


async def test_a_failed_group_is_replayed_in_order_of_worth(database: Database) -> None:
    def poison(_db: Connection) -> None:
        raise LookupError

    gate, held = await hold(database)
    order = [Worth.OUTBOX, Worth.AUDIT, Worth.TRANSACTION, Worth.RUN, Worth.TRANSACTION, Worth.OUTBOX]
    futures = [
        database.submit(lambda db, text=f"{worth.name}{n}": add(db, text), worth=worth)  # type: ignore[misc]
        for n, worth in enumerate(order)
    ]
    bad = database.submit(poison, worth=Worth.OUTBOX)
    gate.opened.set()
    await asyncio.gather(held, *futures, bad, return_exceptions=True)
    assert await texts(database) == ["TRANSACTION2", "TRANSACTION4", "RUN3", "AUDIT1", "OUTBOX0", "OUTBOX5"]


async def test_what_a_job_kept_is_forgotten_with_its_group(database: Database) -> None:
    def keep(db: Connection) -> int:
        db.kept["n"] = db.kept.get("n", 0) + 1
        return int(db.kept["n"])

    def keep_and_fail(db: Connection) -> int:
        keep(db)
        raise LookupError

    assert await database.write(keep, worth=Worth.RUN) == 1
    assert await database.write(keep, worth=Worth.RUN) == 2
    with pytest.raises(LookupError):
        await database.write(keep_and_fail, worth=Worth.RUN)
    assert await database.write(keep, worth=Worth.RUN) == 1


async def test_a_cancelled_caller_does_not_stop_the_writer_and_its_job_is_done(database: Database) -> None:
    gate, held = await hold(database)
    task = asyncio.create_task(database.write(lambda db: add(db, "cancelled"), worth=Worth.TRANSACTION))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    after = database.submit(lambda db: add(db, "after"), worth=Worth.TRANSACTION)
    gate.opened.set()
    await held
    await after
    assert await texts(database) == ["cancelled", "after"]


async def test_many_producers_each_get_their_own_answer(database: Database) -> None:
    async def producer(name: int) -> list[int]:
        return [await database.write(lambda db, n=n: add(db, f"{name}-{n}"), worth=Worth.RUN) for n in range(30)]  # type: ignore[misc]

    answers = await asyncio.gather(*(producer(name) for name in range(20)))
    rows = await database.read(lambda db: dict(db.execute("SELECT text, id FROM notes").fetchall()))
    assert {f"{name}-{n}": row for name, ids in enumerate(answers) for n, row in enumerate(ids)} == rows
    assert all(ids == sorted(ids) for ids in answers)


async def test_closing_finishes_what_is_queued_and_leaves_no_wal(tmp_path: Path) -> None:
    database = Database(tmp_path / "agent.db", SystemClock())
    database.open()
    futures = [database.submit(meta.next_start_counter, worth=Worth.RUN) for _ in range(50)]
    await database.close()
    assert [future.result() for future in futures] == list(range(1, 51))
    assert not (tmp_path / "agent.db-wal").exists()
    with pytest.raises(StoreUnavailable):
        await database.write(meta.next_start_counter, worth=Worth.RUN)
    with pytest.raises(StoreUnavailable):
        await database.read(meta.journal_id)


async def test_a_reader_that_takes_too_long_is_interrupted_and_the_next_one_is_served(database: Database) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(StoreUnavailable):
        await database.read(lambda db: db.execute(endless).fetchone())
    assert await texts(database) == []


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(StoreUnavailable):
        await database.read(lambda db: add(db, "x"))
    assert await texts(database) == []


async def test_a_stalled_writer_is_seen_while_one_batch_takes_too_long(tmp_path: Path) -> None:
    clock = ManualClock()
    database = Database(tmp_path / "agent.db", clock)
    database.open()
    gate, held = await hold(database)
    assert not database.writer_stalled()
    clock.advance(20.5)
    assert database.writer_stalled()
    gate.opened.set()
    await held
    await database.write(lambda db: None, worth=Worth.RUN)
    await database.close()
    assert not database.writer_stalled()


async def test_the_file_is_private_and_set_up_as_meant(database: Database, tmp_path: Path) -> None:
    await database.write(lambda db: add(db, "x"), worth=Worth.RUN)
    await texts(database)
    for name in ("agent.db", "agent.db-wal", "agent.db-shm"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    names = (
        "journal_mode",
        "synchronous",
        "wal_autocheckpoint",
        "cache_size",
        "mmap_size",
        "foreign_keys",
        "trusted_schema",
    )

    def pragmas(db: Connection) -> list[object]:
        return [db.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert await database.write(pragmas, worth=Worth.RUN) == ["wal", 2, 0, -256, 0, 1, 0]


async def test_the_wal_is_emptied_while_work_goes_on(database: Database) -> None:
    block = "x" * 20_000
    for _ in range(40):
        await asyncio.gather(*(database.write(lambda db: add(db, block), worth=Worth.RUN) for _ in range(20)))
    assert database.metrics().checkpoints >= 1
    assert database.metrics().wal_bytes < 12 * 1024 * 1024  # 16 MB were written


def test_a_newer_schema_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    Database(path, SystemClock()).open()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    with pytest.raises(StoreDamaged) as caught:
        Database(path, SystemClock()).open()
    assert caught.value.facts == {"schema": 999, "known": len(schema.migrations())}


@pytest.mark.parametrize("content", [b"not a database at all, " * 400, b"SQLite format 3\0" + bytes(4080)])
def test_a_file_that_is_no_database_is_set_aside_as_it_is_and_recording_goes_on(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "agent.db"
    path.write_bytes(content)
    database = Database(path, ManualClock())
    database.open()

    async def write() -> None:
        await database.write(lambda db: meta.put(db, "x", "y"), worth=Worth.RUN)
        await database.close()

    asyncio.run(write())
    (aside,) = [one for one in tmp_path.glob("agent.db.damaged-*") if not one.name.endswith(("-wal", "-shm"))]
    assert aside.read_bytes() == content


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(StoreDamaged):
        Database(path, SystemClock()).open()


def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        Database(tmp_path / "nowhere" / "agent.db", SystemClock()).open()


async def test_a_migration_that_fails_leaves_the_schema_before_it(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    database = Database(path, SystemClock())
    database.open()
    await database.close()
    known = schema.migrations()
    last = len(known)
    with sqlite3.connect(path, isolation_level=None, factory=Connection) as db:
        broken = schema.Migration(last + 1, "CREATE TABLE more (x); CREATE TABLE more (x);")
        with pytest.raises(sqlite3.OperationalError):
            schema.initialise(db, SystemClock().now(), [*known, broken])
        assert db.execute("PRAGMA user_version").fetchone() == (last,)
        assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'more'").fetchone() == (0,)
        good = [*known, schema.Migration(last + 1, "CREATE TABLE more (x);")]
        schema.initialise(db, SystemClock().now(), good)
        schema.initialise(db, SystemClock().now(), good)  # a repeat does nothing
        assert db.execute("PRAGMA user_version").fetchone() == (last + 1,)
    db.close()


async def test_the_journals_name_and_the_starts_are_kept(tmp_path: Path) -> None:
    names = set()
    for start in (1, 2, 3):
        database = Database(tmp_path / "agent.db", ManualClock())
        database.open()
        assert await database.write(meta.next_start_counter, worth=Worth.RUN) == start
        names.add((await database.read(meta.journal_id), await database.read(meta.journal_began_at)))
        await database.close()
    ((name, began_at),) = names
    assert len(name) == 36
    assert began_at == ManualClock().now()


async def test_everybody_who_asked_is_told_of_commits_with_transactions_and_of_no_others(database: Database) -> None:
    told: list[str] = []
    database.after_transactions(lambda: told.append("first"))
    database.after_transactions(lambda: told.append("second"))
    await database.write(lambda db: add(db, "a run"), worth=Worth.RUN)
    assert told == []
    await database.write(lambda db: add(db, "a record"), worth=Worth.TRANSACTION)
    assert told == ["first", "second"]
    with pytest.raises(StoreUnavailable):
        await database.write(lambda db: db.execute("INSERT INTO nowhere VALUES (1)"), worth=Worth.TRANSACTION)
    assert told == ["first", "second"]
