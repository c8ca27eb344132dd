"""A journal of each earlier schema is brought up to date with every entry, and its journal gets its row."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.store import chain, schema
from agent.store.soundness import DAMAGED, Soundness
from agent.store.sqlite import Connection
from tests.kit import damage
from tests.kit.manual_clock import ManualClock
from tests.kit.store_records import open_journal, sale

NEWEST = len(schema.migrations())
COUNT = 30


def _older(folder: Path, version: int, made: damage.Made) -> str:
    """A file as the release with that schema left it; the journal's name."""
    steps = schema.migrations()[:version]
    with closing(sqlite3.connect(folder / "agent.db", isolation_level=None, factory=Connection)) as db:
        schema.initialise(db, ManualClock().now(), steps)
        (journal_id,) = db.execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()
        columns = [row[1] for row in db.execute("PRAGMA table_info(entries)")]
        with closing(sqlite3.connect(made.put(folder / "newest"))) as newest:
            rows = newest.execute(f"SELECT {', '.join(columns)} FROM entries ORDER BY sequence").fetchall()
        before = chain.genesis(journal_id)
        for row in rows:
            entry = dict(zip(columns, row, strict=True))
            digest = chain.record_digest(entry["record"].encode())
            entry["hash"] = before = chain.link(before, entry["sequence"], digest)
            places = ", ".join("?" * len(columns))
            db.execute(f"INSERT INTO entries ({', '.join(columns)}) VALUES ({places})", tuple(entry.values()))
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
    return str(journal_id)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> damage.Made:
    return damage.make(tmp_path_factory.mktemp("whole"), COUNT, in_wal=5)


@pytest.mark.parametrize("version", range(1, NEWEST))
async def test_every_entry_is_kept_and_recording_goes_on(tmp_path: Path, version: int, made: damage.Made) -> None:
    journal_id = _older(tmp_path, version, made)
    before = damage.stored(tmp_path / "agent.db")
    assert len(before) == COUNT
    faults: dict[str, bool] = {}

    def report(code: str, _device: str, active: bool, _detail: str) -> None:
        faults[code] = active

    async with open_journal(tmp_path) as opened:
        assert await opened.store(sale(stan="999999")) == COUNT + 1
        found = await Soundness(opened.database, ManualClock(), report).verify()
        assert (found.intact, found.upto_sequence, found.missing) == (True, COUNT + 1, [])
        rows = await opened.database.read(
            lambda db: db.execute("SELECT journal_id, parent, cause FROM journals").fetchall()
        )
    assert rows == [(journal_id, None, "new")]
    assert faults == {DAMAGED: False}
    after = await asyncio.to_thread(damage.stored, tmp_path / "agent.db")
    assert {one: after[one] for one in before} == before
