"""A journal of millions of entries in a minute: its first million linked by the chain as the agent does, others copied.

Written with plain SQL while nobody else has the file open, indexes made last; opened afterwards as any other journal.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from agent.runtime.clock import SystemClock
from agent.store import chain, meta
from agent.store.database import Database, Worth

LINKED = 1_000_000
BYTES_PER_ENTRY = 1000  # a little more than the file needs, indexes included
_BINDING = ("acquirer-a", "104290070110001", "10000001")
_FIRST_AT_MS = 1_700_000_000_000
_COLUMNS = (
    "sequence, at, transaction_id, state, attempt, type, binding, batch_no, stan, natural_rest, currency, amount_minor,"
    " record, hash"
)
_COPY = f"""
    INSERT INTO entries ({_COLUMNS})
    SELECT sequence + :by, at + :by, printf('%08x-0000-7000-8000-%012x', (sequence + :by) / 1000, sequence + :by),
           state, attempt, type, binding, printf('%06d', (sequence + :by) / 500 % 1000000), stan, natural_rest,
           currency, amount_minor, record, hash
      FROM entries WHERE sequence <= :count ORDER BY sequence"""


def _linked(count: int, journal_id: str) -> Iterator[tuple[Any, ...]]:
    """Rows of approved sales as the agent stores them."""
    previous = chain.genesis(journal_id)
    provider, mid, tid = _BINDING
    for number in range(1, count + 1):
        identifier = f"{number // 1000:08x}-0000-7000-8000-{number:012x}"
        batch, stan, amount = f"{number // 500 % 1_000_000:06d}", f"{number % 999_999 + 1:06d}", 100 + number % 9000
        record = {
            **{"amount_minor": amount, "batch_no": batch, "currency": "156", "local_at": "2026-11-21T10:00:00+08:00"},
            **{"masked_pan": "621234******5678", "mid": mid, "provider": provider, "response_code": "00"},
            **{"rrn": f"{number:012d}", "scheme": "unionpay", "stan": stan, "state": "approved", "tid": tid},
            **{"transaction_id": identifier, "type": "sale"},
        }
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        previous = chain.link(previous, number, hashlib.sha256(text.encode()).digest())
        place = ("/".join(_BINDING), batch, stan, "2/2026-11-21", "156", amount)
        yield (number, _FIRST_AT_MS + number, identifier, "approved", 1, "sale", *place, text, previous)


def make(folder: Path, entries: int) -> Path:
    """Make ``folder/agent.db`` with so many entries; a multiple of `LINKED` where there are more than that."""
    path = folder / "agent.db"
    journal_id = asyncio.run(_create(path))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -262144"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        indexes = db.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'entries' AND sql IS NOT NULL"
        ).fetchall()
        for name, _sql in indexes:
            db.execute(f"DROP INDEX {name}")
        db.execute("BEGIN")
        linked = min(entries, LINKED)
        places = ", ".join("?" * (_COLUMNS.count(",") + 1))
        db.executemany(f"INSERT INTO entries ({_COLUMNS}) VALUES ({places})", _linked(linked, journal_id))
        for by in range(linked, entries, linked):
            db.execute(_COPY, {"by": by, "count": linked})
        db.execute("COMMIT")
        for _name, sql in indexes:
            db.execute(sql)
        assert db.execute("SELECT count(*) FROM entries").fetchone() == (entries,)
    return path


async def _create(path: Path) -> str:
    database = Database(path, SystemClock())
    database.open()
    try:
        return await database.write(meta.journal_id, worth=Worth.RUN)
    finally:
        await database.close()
