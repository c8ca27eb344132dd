"""Backup files as tests need them: a chained journal of a few entries, and a whole file made of it."""

from __future__ import annotations

import io
from collections.abc import Sequence

from msgspec import Raw

from agent.backup.file_format import AnchorPoint, Entry, Gap, Header, JournalLine, Writer, compressing
from agent.contract.backup_views import BackupKind
from agent.contract.canonical_json import canonical
from agent.contract.journal_views import Mark
from agent.store import chain

JOURNAL_ID = "0192f6d0-7c1e-7000-8000-00000000000a"


def entries(count: int, *, after: int = 0, previous: bytes | None = None) -> list[Entry]:
    """``count`` entries that link to each other; the third one carries a mark."""
    hash_ = chain.genesis(JOURNAL_ID) if previous is None else previous
    made = []
    for sequence in range(after + 1, after + count + 1):
        record = canonical({"transaction_id": f"t-{sequence}", "memo": "größer als 5 €", "amount_minor": sequence})
        hash_ = chain.link(hash_, sequence, chain.record_digest(record))
        mark = Mark(duplicate_of="t-1") if sequence == after + 3 else None
        made.append(Entry(sequence, "2026-11-21T02:00:00.123Z", Raw(record), hash_.hex(), mark))
    return made


def header(
    upto: int,
    *,
    kind: BackupKind = "segment",
    anchor: AnchorPoint | None = None,
    missing: Sequence[Gap] = (),
) -> Header:
    """A header for entries up to ``upto`` after ``anchor``, by default from the journal's beginning."""
    genesis = chain.genesis(JOURNAL_ID).hex()
    anchor = anchor or AnchorPoint(0, genesis)
    return Header(
        kind=kind,
        site="shop-1",
        terminal="T-0001",
        serial="SN1",
        journal_id=JOURNAL_ID,
        journals=(JournalLine(JOURNAL_ID, 0, genesis, None, 0, "new"),),
        anchor=anchor,
        from_seq=anchor.sequence + 1,
        upto_seq=upto,
        missing=tuple(missing),
        made_at="2026-11-21T02:00:00.123Z",
        version="0.1.0",
        schema=5,
    )


def segment(count: int = 5) -> bytes:
    """The lines of a segment."""
    out = io.BytesIO()
    writer = Writer(out, header(count))
    for one in entries(count):
        writer.entry(one)
    writer.end()
    return out.getvalue()


def snapshot(count: int = 3) -> bytes:
    """The lines of a snapshot with two tables, one of them empty."""
    out = io.BytesIO()
    writer = Writer(out, header(count, kind="snapshot"))
    for one in entries(count):
        writer.entry(one)
    writer.table("meta", ("name", "value"))
    writer.row(("journal_id", JOURNAL_ID))
    writer.row((b"\x00\xff", 1.5))
    writer.row((None, -3))
    writer.table("outbox", ("id",))
    writer.end()
    return out.getvalue()


def compressed(lines: bytes) -> bytes:
    """The same as it goes into the encryption."""
    out = io.BytesIO()
    with compressing(out) as stream:
        stream.write(lines)
    return out.getvalue()
