"""Journals to be damaged: made for real, spoilt at chosen places, and looked at by SQLite alone."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.store.sqlite_pages import PageFile
from tests.kit.store_records import open_journal, sale

PARTS = ("agent.db", "agent.db-wal")
PAGE = 4096


@dataclass(frozen=True)
class Made:
    """A journal as it lay on the disk while a process had it open: what each file held, and what was acknowledged."""

    files: dict[str, bytes]
    entries: dict[int, tuple[str, bytes]]
    journal_id: str
    witness: bytes

    def put(self, folder: Path, *, witness: bool = True) -> Path:
        """Lay it into a folder; the path of the database."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        if witness:
            (folder / "agent.tail").write_bytes(self.witness)
        return folder / "agent.db"


def make(folder: Path, count: int, *, in_wal: int) -> Made:
    """``count`` entries, the last ``in_wal`` of them in the WAL alone."""

    def changes(number: int) -> dict[str, Any]:
        return {"stan": f"{number:06d}", "memo": "x" * (number * 37 % 200)}

    async def fill() -> tuple[dict[str, bytes], bytes]:
        async with open_journal(folder) as opened:
            for number in range(1, count - in_wal + 1):
                await opened.store(sale(**changes(number)))
        async with open_journal(folder) as opened:
            for number in range(count - in_wal + 1, count + 1):
                await opened.store(sale(**changes(number)))
            files = {name: (folder / name).read_bytes() for name in PARTS}
            return files, (folder / "agent.tail").read_bytes()

    files, witness = asyncio.run(fill())
    return Made(files, stored(folder / "agent.db"), journal_id(folder / "agent.db"), witness)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
        yield db


def stored(path: Path) -> dict[int, tuple[str, bytes]]:
    """sequence → record and hash, of everything in the table."""
    with _reading(path) as db:
        return {row[0]: (row[1], row[2]) for row in db.execute("SELECT sequence, record, hash FROM entries")}


def journal_id(path: Path) -> str:
    """Of the present journal."""
    with _reading(path) as db:
        return str(db.execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()[0])


def named_missing(path: Path) -> set[int]:
    """Every sequence that table ``missing`` names."""
    with _reading(path) as db:
        spans = db.execute("SELECT from_seq, upto_seq FROM missing").fetchall()
    return {sequence for first, last in spans for sequence in range(first, last + 1)}


def is_rebuilding(path: Path) -> bool:
    """True while entries are still coming back."""
    with _reading(path) as db:
        return bool(db.execute("SELECT count(*) FROM meta WHERE name = 'rebuild'").fetchone()[0])


def set_aside(folder: Path) -> list[Path]:
    """Every database file that was set aside, the first one first."""
    ends = ("-wal", "-shm", ".json")
    return sorted(one for one in folder.glob("agent.db.damaged-*") if not one.name.endswith(ends))


def report(folder: Path) -> dict[str, Any]:
    """The newest report."""
    newest = max(folder.glob("*.report.json"), key=os.path.getmtime)
    found: dict[str, Any] = json.loads(newest.read_bytes())
    return found


def pages_of_entries(path: Path) -> dict[int, set[int]]:
    """sequence → every page of the main file that holds a part of its row, its overflow pages included."""
    pages = PageFile(path, path.with_name("nothing"))
    found: dict[int, set[int]] = {}
    try:
        for place in pages.places():
            for rowid in pages.rowids(place):
                found.setdefault(rowid, set()).add(place.page)
    finally:
        pages.close()
    return found


def flip(content: bytes, bits: Iterable[int]) -> bytes:
    """The same with some bits the other way round; positions beyond the end count from the beginning again."""
    spoilt = bytearray(content)
    for bit in bits:
        spoilt[bit // 8 % len(spoilt)] ^= 1 << bit % 8
    return bytes(spoilt)
