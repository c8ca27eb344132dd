"""Batches that have a settlement: their transactions for adding up, and how the comparison came out. Plain SQL.

What counts and what agrees is decided in ``contract/batch_totals.py``. Everything is read along indexes and in pieces;
what was found is written down with how far it looked, so that nothing recorded meanwhile, or before a crash, is passed
over.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from agent.contract.batch_totals import COUNTED_STATES, COUNTED_TYPES, Counted, Settlement
from agent.contract.transaction_form import RecordFields

if TYPE_CHECKING:
    from agent.store.sqlite import Connection

ENTRIES_PER_READ: Final = 5_000
BATCHES_PER_READ: Final = 100
FAULTS_AT_MOST: Final = 8
_TYPES: Final = ", ".join(f"'{one}'" for one in sorted(COUNTED_TYPES))
_STATES: Final = ", ".join(f"'{one}'" for one in sorted(COUNTED_STATES))


class Batch(NamedTuple):
    """``binding``: provider/mid/tid."""

    binding: str
    batch_no: str


class Check(Struct, frozen=True):
    """How a comparison came out.

    Attributes:
        settlement: The entry compared; 0 when no settlement of the batch is approved any more.
        compared_upto: The last entry considered.
        difference: For people; None when they agree.
        is_partial: Retention has taken some of what this settlement settles.
    """

    settlement: int
    compared_upto: int
    difference: str | None
    is_partial: bool = False


class Page(Struct, frozen=True):
    """``upto``: entries that have been looked at."""

    batches: list[Batch]
    upto: int


def last_sequence(db: Connection) -> int:
    """Of the newest entry; 0 while there is none."""
    return int(db.execute("SELECT coalesce(max(sequence), 0) FROM entries").fetchone()[0])


def settled_batches(db: Connection, after: Batch | None) -> list[Batch]:
    """Some batches that have a settlement of any outcome, in order, beginning after ``after``."""
    rows = db.execute(
        "SELECT DISTINCT binding, batch_no FROM entries INDEXED BY settlement_entries"
        " WHERE type = 'settlement' AND (binding, batch_no) > (?, ?) ORDER BY binding, batch_no LIMIT ?",
        (*(after or ("", "")), BATCHES_PER_READ),
    )
    return [Batch(*row) for row in rows]


def is_due(db: Connection, batch: Batch) -> bool:
    """Has anything been recorded of the batch since it was compared?"""
    known = check_of(db, batch)
    last = db.execute("SELECT max(sequence) FROM entries WHERE batch_no = ?", (batch.batch_no,)).fetchone()[0]
    return known is None or (last or 0) > known.compared_upto


def touched(db: Connection, above: int) -> Page:
    """Batches with a settlement of which a piece of the journal after ``above`` holds something."""
    upto = min(above + ENTRIES_PER_READ, max(last_sequence(db), above))
    rows = db.execute(
        """
        SELECT DISTINCT binding, batch_no FROM entries AS entry
         WHERE sequence > ? AND sequence <= ? AND batch_no IS NOT NULL
           AND EXISTS (SELECT 1 FROM entries AS settlement INDEXED BY settlement_entries
                        WHERE settlement.type = 'settlement' AND settlement.binding = entry.binding
                          AND settlement.batch_no = entry.batch_no)""",
        (above, upto),
    )
    return Page([Batch(*row) for row in rows], upto)


def settlements(db: Connection, batch: Batch) -> list[Settlement]:
    """The batch's approved settlements that still are, oldest first: one that was reversed settles nothing."""
    rows = db.execute(
        """
        SELECT sequence, settles, record FROM entries AS entry INDEXED BY settlement_entries
         WHERE type = 'settlement' AND binding = ? AND batch_no = ? AND state = 'approved' AND conflict_with IS NULL
           AND NOT EXISTS (SELECT 1 FROM entries AS later WHERE later.transaction_id = entry.transaction_id
                              AND later.sequence > entry.sequence AND later.conflict_with IS NULL
                              AND later.state <> 'settled')
         ORDER BY sequence""",
        batch,
    )
    found = []
    for sequence, settles, record in rows:
        fields = msgspec.json.decode(record, type=RecordFields)
        found.append(
            Settlement(sequence, datetime.fromisoformat(fields.local_at), settles is not None, fields.totals or ())
        )
    return found


class Piece(Struct, frozen=True):
    """``upto``: where to go on; None when that was the last piece."""

    transactions: list[Counted]
    upto: int | None


def transactions(db: Connection, batch: Batch, above: int, as_of: int) -> Piece:
    """Transactions of the batch that count, as they were when ``as_of`` was the newest entry."""
    count, last = db.execute(
        "SELECT count(*), max(sequence) FROM (SELECT sequence FROM entries INDEXED BY entries_by_batch"
        " WHERE batch_no = ? AND sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?)",
        (batch.batch_no, above, as_of, ENTRIES_PER_READ),
    ).fetchone()
    if not count:
        return Piece([], None)
    rows = db.execute(
        f"""
        SELECT entry.type, entry.currency, entry.amount_minor, first.sequence,
               json_extract(first.record, '$.local_at')
          FROM entries AS entry INDEXED BY entries_by_batch
          JOIN entries AS first ON first.sequence = (
               SELECT min(sequence) FROM entries WHERE transaction_id = entry.transaction_id AND conflict_with IS NULL)
         WHERE entry.batch_no = ? AND entry.sequence > ? AND entry.sequence <= ? AND entry.binding = ?
           AND entry.conflict_with IS NULL AND entry.type IN ({_TYPES}) AND entry.state IN ({_STATES})
           AND NOT EXISTS (SELECT 1 FROM entries AS later WHERE later.transaction_id = entry.transaction_id
                              AND later.sequence > entry.sequence AND later.sequence <= ?
                              AND later.conflict_with IS NULL)""",  # noqa: S608  # names of our own
        (batch.batch_no, above, last, batch.binding, as_of),
    )
    found = [
        Counted(kind, currency, amount_minor or 0, sequence, datetime.fromisoformat(local_at))
        for kind, currency, amount_minor, sequence, local_at in rows
    ]
    return Piece(found, last if count == ENTRIES_PER_READ else None)


def check_of(db: Connection, batch: Batch) -> Check | None:
    """How the batch was last found; None when it never was."""
    row = db.execute(
        "SELECT settlement, compared_upto, difference, is_partial FROM batch_checks WHERE binding = ? AND batch_no = ?",
        batch,
    ).fetchone()
    return None if row is None else Check(row[0], row[1], row[2], bool(row[3]))


def keep_check(db: Connection, batch: Batch, check: Check) -> None:
    """Write it down in place of the one before; a job for the writer."""
    db.execute(
        "INSERT OR REPLACE INTO batch_checks (binding, batch_no, settlement, compared_upto, difference, is_partial)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (*batch, check.settlement, check.compared_upto, check.difference, int(check.is_partial)),
    )


def differing(db: Connection) -> list[tuple[Batch, str]]:
    """The latest few batches that differ, the newest settlement first; all of them could crowd out other faults."""
    rows = db.execute(
        "SELECT binding, batch_no, difference FROM batch_checks INDEXED BY batch_differences"
        " WHERE difference IS NOT NULL ORDER BY settlement DESC LIMIT ?",
        (FAULTS_AT_MOST,),
    )
    return [(Batch(binding, batch_no), difference) for binding, batch_no, difference in rows]


def compare_again(db: Connection, upto: int | None = None) -> None:
    """Every batch is due again; what was found at settlements after ``upto`` is forgotten: they are gone."""
    db.execute("UPDATE batch_checks SET compared_upto = 0 WHERE compared_upto <> 0")
    if upto is not None:
        db.execute("DELETE FROM batch_checks WHERE settlement > ?", (upto,))


def forget_removed(db: Connection, upto: int, removed: Iterable[Any]) -> None:
    """Retention takes the entries up to ``upto``, among them some of the batches ``removed`` (binding, batch_no)."""
    db.executemany("UPDATE batch_checks SET is_partial = 1 WHERE binding = ? AND batch_no = ?", removed)
    db.execute("DELETE FROM batch_checks WHERE settlement <= ? AND is_partial = 1", (upto,))
