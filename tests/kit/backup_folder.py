"""A terminal's database with real records, and backup files of it in a folder: written by the format's own writer.

What the agent's own backups look like is theirs to prove; here every range, cut and kind can be made at will.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from msgspec import Raw

from agent.backup.age import KeyPair, present
from agent.backup.file_format import AnchorPoint, Entry, Gap, Header, JournalLine, Writer, compressing
from agent.backup.file_names import file_name, folder_of
from agent.contract.backup_views import BackupKind
from agent.contract.journal_views import Mark
from agent.contract.transaction import decode_record
from agent.runtime.clock import rfc3339
from agent.store import anchor, journals, meta
from agent.store.database import Database, Worth
from agent.store.sqlite import open_readonly
from tests.kit.manual_clock import ManualClock
from tests.kit.store_records import BINDINGS, open_journal, sale

SITE, TERMINAL, SERIAL = "shop-1", "T-0001", "SN123"
BEGAN = datetime(2026, 11, 21, 2, tzinfo=UTC)
_ONE_BY_ONE = 1_000  # a journal up to this has a time of its own for each entry


def fill_journal(folder: Path, count: int, *, began: datetime = BEGAN, every_s: float = 60.0) -> Path:
    """Store ``count`` sales, one every ``every_s`` by the journal's clock from ``began`` on; the database."""

    async def work() -> None:
        clock = ManualClock(began)
        async with open_journal(folder, clock=clock, max_group=1 if count <= _ONE_BY_ONE else 256) as opened:
            waiting = []
            for index in range(count):
                if count <= _ONE_BY_ONE:
                    clock.set_wall(began + timedelta(seconds=index * every_s))
                record = decode_record(sale(stan=f"{index % 1_000_000:06d}", amount_minor=index), BINDINGS)
                waiting.append(opened.journal.submit(record))
                if len(waiting) == 256 or count <= _ONE_BY_ONE:
                    await asyncio.gather(*waiting)
                    waiting.clear()
            await asyncio.gather(*waiting)

    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(work())
    return folder / "agent.db"


def add_entries(database: Path, count: int) -> None:
    """More sales into a database that is there."""

    async def work() -> None:
        async with open_journal(database.parent, clock=ManualClock(BEGAN + timedelta(hours=12))) as opened:
            for index in range(count):
                await opened.store(sale(stan=f"{500_000 + index:06d}", amount_minor=index))

    asyncio.run(work())


def execute(database: Path, statement: str, values: Sequence[Any] = ()) -> None:
    """One statement of a test's own on a resting database."""
    with closing(sqlite3.connect(database)) as db, db:
        db.execute(statement, values)


def query(database: Path, statement: str, values: Sequence[Any] = ()) -> list[Any]:
    """Rows of a resting or a live database."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return db.execute(statement, values).fetchall()


@dataclass
class BackupFolder:
    """Files of one terminal's database below ``place``, encrypted to ``recipients``."""

    place: Path
    database: Path
    recipients: list[str]
    terminal: str = TERMINAL
    serial: str = SERIAL
    made: list[Path] = field(default_factory=list)

    def segment(self, first: int, last: int) -> Path:
        return self._write("segment", first, last, BEGAN)

    def segments(self, first: int, last: int, each: int) -> list[Path]:
        """Contiguous ones of ``each`` entries."""
        return [self.segment(one, min(one + each - 1, last)) for one in range(first, last + 1, each)]

    def snapshot(self, last: int, *, made_at: datetime | None = None) -> Path:
        """From the beginning of the file to ``last``, with every other table as it is now."""
        return self._write("snapshot", None, last, made_at or BEGAN + timedelta(seconds=last))

    def _write(self, kind: BackupKind, first: int | None, last: int, made_at: datetime) -> Path:
        db = open_readonly(self.database)
        try:
            begin = anchor.anchor(db)
            if first is not None and first > begin.sequence + 1:
                row = db.execute("SELECT hash FROM entries WHERE sequence = ?", (first - 1,)).fetchone()
                begin = anchor.Anchor(first - 1, row[0])
            lines = tuple(
                JournalLine(
                    one.journal_id, one.base.sequence, one.base.hash.hex(), one.parent, one.began_at_ms, one.cause
                )
                for one in journals.journals(db)
            )
            present_one = [one for one in lines if one.journal_id == meta.journal_id(db)]
            lines = tuple(one for one in lines if one not in present_one) + tuple(present_one)
            gaps = tuple(
                Gap(*row)
                for row in db.execute(
                    "SELECT max(from_seq, ?), min(upto_seq, ?), cause FROM missing"
                    " WHERE upto_seq > ? AND from_seq <= ? ORDER BY from_seq",
                    (begin.sequence + 1, last, begin.sequence, last),
                )
            )
            header = Header(
                kind=kind,
                site=SITE,
                terminal=self.terminal,
                serial=self.serial,
                journal_id=meta.journal_id(db),
                journals=lines,
                anchor=AnchorPoint(begin.sequence, begin.hash.hex()),
                from_seq=begin.sequence + 1,
                upto_seq=last,
                missing=gaps,
                made_at=rfc3339(made_at),
                version="0.1.0",
                schema=db.execute("PRAGMA user_version").fetchone()[0],
            )
            folder = self.place / folder_of(SITE, self.terminal, header.journal_id)
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / ".part"
            with (
                part.open("wb") as out,
                present().encrypting(out, self.recipients) as sealed,
                compressing(sealed) as stream,
            ):
                writer = Writer(cast("IO[bytes]", stream), header)
                self._entries(db, writer, header)
                if kind == "snapshot":
                    self._tables(db, writer)
                writer.end()
        finally:
            db.close()
        digest = hashlib.sha256(part.read_bytes()).hexdigest()
        path = folder / file_name(kind, header.from_seq, last, made_at, digest)
        part.rename(path)
        self.made.append(path)
        return path

    def _entries(self, db: Any, writer: Writer, header: Header) -> None:
        rows = db.execute(
            "SELECT sequence, at, record, hash, conflict_with, duplicate_of FROM entries"
            " WHERE sequence BETWEEN ? AND ? ORDER BY sequence",
            (header.from_seq, header.upto_seq),
        )
        for sequence, at, record, hash_, conflict, twin in rows:
            mark = Mark(conflict, twin) if conflict is not None or twin is not None else None
            stored = rfc3339(datetime.fromtimestamp(at / 1000, UTC))
            writer.entry(Entry(sequence, stored, Raw(record.encode()), hash_.hex(), mark))

    def _tables(self, db: Any, writer: Writer) -> None:
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        for name in names:
            if name != "entries" and not name.startswith("sqlite_"):
                found = db.execute(f"SELECT * FROM {name}")
                writer.table(name, [column[0] for column in found.description])
                for row in found:
                    writer.row(row)


def damage(path: Path, choice: random.Random) -> str:
    """Cut the file at random or flip a bit of it; says what was done."""
    content = bytearray(path.read_bytes())
    if choice.random() < 0.5:
        cut = choice.randrange(len(content))
        path.write_bytes(content[:cut])
        return f"cut at {cut} of {len(content)}"
    bit = choice.randrange(len(content) * 8)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return f"bit {bit} of {len(content) * 8} flipped"


def new_key() -> KeyPair:
    return present().generate()


def put_key(state: Path, key: KeyPair) -> None:
    """Give a terminal a key that the test knows."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(state / "restore-key", os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"# public key: {key.public}\n{key.secret}\n")


def write_meta(database: Path, **facts: str) -> None:
    """Small facts as other parts of the agent leave them."""

    async def work() -> None:
        opened = Database(database, ManualClock(BEGAN))
        opened.open()
        for name, value in facts.items():
            await opened.write(partial(meta.put, name=name, value=value), worth=Worth.RUN)
        await opened.close()

    asyncio.run(work())
