"""The store as the lines of a backup: read in short transactions with pauses, so that writing is not disturbed.

Entries never change, so a long read needs no long transaction: the WAL can be emptied meanwhile. The other tables of a
snapshot are read last, in one transaction, and may so tell of entries after ``upto_seq``; a restore takes them at their
word only up to there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from msgspec import Raw

from agent.backup.file_format import AnchorPoint, Entry, Gap, Header, JournalLine, Writer
from agent.backup.job import LARGEST_SEGMENT, Origin
from agent.contract.backup_views import BackupKind
from agent.contract.journal_views import Mark
from agent.runtime.clock import rfc3339
from agent.store import journals, meta
from agent.store.anchor import Anchor, anchor
from agent.store.sqlite import Connection

_ENTRIES_AT_ONCE: Final = 200
_LONGEST_PAUSE_S: Final = 0.25
_NOT_IN_A_SNAPSHOT: Final = frozenset({"entries"})


class Pace:
    """Rests as long as it worked: at most half of one processor's time, whatever the machine is."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep
        self._since = time.monotonic()

    def rest(self) -> None:
        """Between two pieces of work."""
        self._sleep(min(time.monotonic() - self._since, _LONGEST_PAUSE_S))
        self._since = time.monotonic()


class Wanted(NamedTuple):
    """What a backup is to hold. ``after``: of a segment, the last entry that is not part of it."""

    kind: BackupKind
    after: int
    origin: Origin
    made_at: str


def read_header(db: Connection, wanted: Wanted) -> Header:
    """What the backup will hold, as the journal stands now; ``upto_seq < from_seq`` when there is nothing."""
    db.execute("BEGIN")
    try:
        before = _before(db, wanted)
        (last,) = db.execute("SELECT max(sequence) FROM entries").fetchone()
        upto = max(last or 0, before.sequence)
        if wanted.kind == "segment":
            upto = min(
                upto, max(before.sequence, wanted.after) + LARGEST_SEGMENT
            )  # a hole may be larger than a segment
        (schema,) = db.execute("PRAGMA user_version").fetchone()
        known = sorted(journals.journals(db), key=lambda one: one.journal_id == meta.journal_id(db))
        gaps = db.execute(
            "SELECT max(from_seq, ?), min(upto_seq, ?), cause FROM missing"
            " WHERE upto_seq > ? AND from_seq <= ? ORDER BY from_seq",
            (before.sequence + 1, upto, before.sequence, upto),
        ).fetchall()
        return Header(
            kind=wanted.kind,
            site=wanted.origin.site,
            terminal=wanted.origin.terminal,
            serial=wanted.origin.serial,
            journal_id=meta.journal_id(db),
            journals=tuple(
                JournalLine(
                    one.journal_id, one.base.sequence, one.base.hash.hex(), one.parent, one.began_at_ms, one.cause
                )
                for one in known
            ),
            anchor=AnchorPoint(before.sequence, before.hash.hex()),
            from_seq=before.sequence + 1,
            upto_seq=upto,
            missing=tuple(Gap(first, last, cause) for first, last, cause in gaps),
            made_at=wanted.made_at,
            version=wanted.origin.version,
            schema=schema,
        )
    finally:
        db.execute("ROLLBACK")


def write_contents(db: Connection, header: Header, writer: Writer, pace: Pace, tell: Callable[[int], None]) -> None:
    """Write everything that the header announces; ``tell`` is told how many entries are written, now and then."""
    written = 0
    for piece in _pieces(db, header):
        for entry in piece:
            writer.entry(entry)
        written += len(piece)
        tell(written)
        pace.rest()
    if header.kind == "snapshot":
        _write_tables(db, writer)


def table_forms(db: Connection) -> list[str]:
    """The SQL that makes the tables of this file, for a trial restore."""
    rows = db.execute("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    return [sql for (sql,) in rows]


def _before(db: Connection, wanted: Wanted) -> Anchor:
    """The chain before the first entry wanted: the last entry that is not, or what retention left."""
    beginning = anchor(db)
    if wanted.kind == "snapshot" or wanted.after <= beginning.sequence:
        return beginning
    row = db.execute(
        "SELECT sequence, hash FROM entries WHERE sequence <= ? ORDER BY sequence DESC LIMIT 1", (wanted.after,)
    ).fetchone()
    return beginning if row is None else Anchor(*row)


def _pieces(db: Connection, header: Header) -> Iterator[list[Entry]]:
    after = header.anchor.sequence
    while after < header.upto_seq:
        rows = db.execute(
            "SELECT sequence, at, record, hash, conflict_with, duplicate_of FROM entries"
            " WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?",
            (after, header.upto_seq, _ENTRIES_AT_ONCE),
        ).fetchall()
        if not rows:
            return
        yield [_entry(row) for row in rows]
        after = rows[-1][0]


def _entry(row: tuple[Any, ...]) -> Entry:
    sequence, at_ms, record, digest, conflict_with, duplicate_of = row
    marked = conflict_with is not None or duplicate_of is not None
    return Entry(
        sequence,
        rfc3339(datetime.fromtimestamp(at_ms / 1000, UTC)),
        Raw(record.encode()),
        digest.hex(),
        Mark(conflict_with, duplicate_of) if marked else None,
    )


def _write_tables(db: Connection, writer: Writer) -> None:
    db.execute("BEGIN")
    try:
        names = db.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        ).fetchall()
        for (name,) in names:
            if name not in _NOT_IN_A_SNAPSHOT:
                rows = db.execute(f'SELECT * FROM "{name}"')  # noqa: S608  # a name out of the schema itself
                writer.table(name, [column[0] for column in rows.description])
                for row in rows:
                    writer.row(row)
    finally:
        db.execute("ROLLBACK")
