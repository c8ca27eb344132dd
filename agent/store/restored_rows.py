"""What a restored file gets besides its entries, and the proof of all of it. Plain SQL on a connection to a new file.

What speaks of the old file or the old medium stays behind: its outbox (long since told or stale), its list of backups,
its marks of what is backed up. What orders were taken, what is locked and what is wrong comes along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

from agent.errors import BackupUnusable
from agent.store import anchor, building, chain, journals, marks, meta
from agent.store.anchor import Anchor
from agent.store.journals import Journal
from agent.store.schema import initialise, migrations

if TYPE_CHECKING:
    from agent.store.database import Connection

Value = int | float | str | bytes | None
_OWN_TABLES: Final = frozenset({"entries", "clock_steps", "meta", "outbox", "backups", "journals", "missing"})
_OF_THE_UNIT: Final = frozenset({"health_state", "health_faults"})
_JOURNAL_DEVICE: Final = "journal"
_LEFT_BEHIND: Final = frozenset(
    {
        *("journal_id", "journal_began_at", "journal_anchor", "schema_usable_from"),  # this file's own
        # Of the old file and its medium, or judged anew:
        *("running", "rebuild", "outbox_dropped", "backups_expected_since", "backed_up_upto", "delivered_upto"),
    }
)
_USABLE_FROM: Final = "schema_usable_from"
_TELL_EVERY: Final = 5_000


class TableRows(Struct, frozen=True):
    """A table as a snapshot holds it."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Value, ...]]


class Gap(NamedTuple):
    """Sequences without an entry, both included."""

    first: int
    last: int


class Proof(Struct, frozen=True):
    """The chain of a file, recomputed.

    Attributes:
        gaps: Sequences without an entry, also those after the last one that a journal's base says were given out.
        end: The last entry, or the beginning where there is none. ``broken_at``: not as it was stored; None: all is.
    """

    entries: int
    gaps: tuple[Gap, ...]
    end: Anchor
    broken_at: int | None


def prove(db: Connection, bases: Mapping[int, bytes], tell: Callable[[int], None] = lambda _done: None) -> Proof:
    """Recompute the chain over everything that is stored, from the beginning of the file to its last entry.

    After a gap it goes on from what a journal's base says stood there, else from the hash of the entry itself, which
    every later one depends on.

    Args:
        bases: Hash by sequence where the journals of this file begin.
    """
    last, digest = anchor.anchor(db)
    gaps: list[Gap] = []
    count = 0
    for sequence, record, stored in db.execute("SELECT sequence, record, hash FROM entries ORDER BY sequence"):
        before: bytes | None = digest
        if sequence != last + 1:
            gaps.append(Gap(last + 1, sequence - 1))
            before = bases.get(sequence - 1)
        if before is not None and stored != chain.link(before, sequence, chain.record_digest(record.encode())):
            return Proof(count, tuple(gaps), Anchor(last, digest), sequence)
        last, digest = sequence, stored
        count += 1
        if count % _TELL_EVERY == 0:
            tell(count)
    if (given_out := max(bases, default=0)) > last:
        gaps.append(Gap(last + 1, given_out))
    return Proof(count, tuple(gaps), Anchor(last, digest), None)


def bases_of(lineage: Sequence[Journal]) -> dict[int, bytes]:
    """Where journals begin: the sequence before each one's first own entry, and the chain there."""
    return {one.base.sequence: one.base.hash for one in lineage}


def remove_from(db: Connection, sequence: int) -> None:
    """Forget entries from ``sequence`` on: what held them turned out unusable, or they are after the wanted time."""
    db.execute("DELETE FROM entries WHERE sequence >= ?", (sequence,))
    db.execute("DELETE FROM clock_steps WHERE sequence >= ?", (sequence,))


def last_stored_by(db: Connection, at: datetime) -> int:
    """The last sequence stored at or before ``at``; 0 when none was."""
    row = db.execute("SELECT max(sequence) FROM entries WHERE at <= ?", (int(at.timestamp() * 1000),)).fetchone()
    return int(row[0] or 0)


def extent(db: Connection) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Sequence and time (milliseconds since 1970 UTC) of the first and of the last entry; None: there is none."""
    query = "SELECT sequence, at FROM entries ORDER BY sequence"
    first = db.execute(f"{query} LIMIT 1").fetchone()
    return None if first is None else (first, db.execute(f"{query} DESC LIMIT 1").fetchone())


def missing(db: Connection) -> list[tuple[Gap, str]]:
    """What this file is known to lack, and why."""
    rows = db.execute("SELECT from_seq, upto_seq, cause FROM missing ORDER BY from_seq")
    return [(Gap(first, last), cause) for first, last, cause in rows]


def write_missing(db: Connection, gaps: Sequence[tuple[Gap, str]]) -> None:
    """Write down what the file lacks, in place of what stood there. ``cause``: damage, backup."""
    db.execute("DELETE FROM missing")
    db.executemany(
        "INSERT INTO missing (from_seq, upto_seq, cause) VALUES (?, ?, ?)", [(*gap, cause) for gap, cause in gaps]
    )


def load_tables(
    db: Connection, tables: Mapping[str, TableRows], schema: int, now: datetime, *, same_unit: bool
) -> None:
    """Take in the tables of a snapshot, brought up to the present schema first.

    Args:
        schema: Of the store that the snapshot is of.
        same_unit: This is the hardware it was made on; what another unit's devices were like is left behind.

    Raises:
        BackupUnusable: A newer release made it, and this one cannot read it.
    """
    steps = migrations()
    if schema > len(steps):
        facts = {row[0]: row[1] for row in tables["meta"].rows} if "meta" in tables else {}
        made, _, usable_from = str(facts.get(_USABLE_FROM) or "").partition(":")
        if made != str(schema) or not usable_from.isdigit() or int(usable_from) > len(steps):
            raise BackupUnusable(
                f"a newer release made it: its store has schema {schema}, this release knows up to {len(steps)}",
                hint="install that release, then restore",
            )
    with building.scratch(now, steps[:schema]) as old:
        old.execute("DELETE FROM meta")
        for name, table in tables.items():
            if name not in _OWN_TABLES or name == "meta":
                _insert(old, name, table)
        initialise(old, now, steps)
        _copy(old, db, same_unit=same_unit)


def _copy(old: Connection, db: Connection, *, same_unit: bool) -> None:
    names = [row[0] for row in old.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    for name in names:
        if name in _OWN_TABLES or name.startswith("sqlite_"):
            continue
        where = f"WHERE device = '{_JOURNAL_DEVICE}'" if name in _OF_THE_UNIT and not same_unit else ""
        found = old.execute(f"SELECT * FROM {name} {where}")  # noqa: S608  # names of our own schema
        columns = tuple(column[0] for column in found.description)
        db.execute(f"DELETE FROM {name}")  # noqa: S608
        _insert(db, name, TableRows(columns, found.fetchall()))
    for name, value in old.execute("SELECT name, value FROM meta").fetchall():
        if name not in _LEFT_BEHIND:
            meta.put(db, name, value)
    marks.set_delivered(db, marks.marks(old).delivered)


def _insert(db: Connection, name: str, table: TableRows) -> None:
    """Rows by the names of their columns; tables and columns that this schema does not have are passed over."""
    known = {row[1] for row in db.execute("SELECT * FROM pragma_table_info(?)", (name,))}
    places = [index for index, column in enumerate(table.columns) if column in known]
    if not places or not table.rows:
        return
    columns = ", ".join(table.columns[index] for index in places)
    db.executemany(
        f"INSERT INTO {name} ({columns}) VALUES ({', '.join('?' * len(places))})",  # noqa: S608  # checked names
        ([row[index] for index in places] for row in table.rows),
    )


def begin_restored(db: Connection, lineage: Sequence[Journal], journal_id: str, base: Anchor, began: datetime) -> None:
    """Make it a journal of its own: ``journal_id`` continues the last of ``lineage`` after ``base``, as from ``began``.

    Orders issued before ``began`` are refused from then on: some may have been taken by what was lost. What the
    snapshot concluded from entries that did not come back is forgotten, and concluded anew.
    """
    journals.write_lineage(db, lineage)
    journals.continue_journal(db, journal_id, base, began, cause="restored")
    marks.set_delivered(db, min(marks.marks(db).delivered, base.sequence))
    db.execute(
        "DELETE FROM batch_checks WHERE is_partial = 0 AND (settlement > ? OR compared_upto > ?)",
        (base.sequence, base.sequence),
    )
