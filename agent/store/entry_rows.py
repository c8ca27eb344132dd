"""Entries that come back from elsewhere: from a backup, the collector, or the pages of a damaged file.

Each is judged by the chain before it gets here and keeps its sequence, time, mark and hash: nothing is decided anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from agent.contract.canonical_json import canonical_checked
from agent.contract.journal_views import EntryItem
from agent.contract.transaction import TransactionRecord
from agent.contract.transaction_form import RecordFields
from agent.store import batch_checks, times
from agent.store.transaction_append import INSERT_ONE, offer, row_of

if TYPE_CHECKING:
    from agent.store.database import Connection


def put_back(db: Connection, items: Iterable[EntryItem]) -> int:
    """Insert entries as they were; those that are here already stay as they are. Returns how many came in.

    Raises:
        msgspec.ValidationError: A record is of another form than any release has stored.
    """
    rows = [_row(item) for item in items]
    before = db.total_changes
    db.executemany(INSERT_ONE.replace("INSERT INTO", "INSERT OR IGNORE INTO"), rows)
    came_in = db.total_changes - before
    if came_in:
        note_came_back(db, min(row[0] for row in rows), max(row[0] for row in rows))
    return came_in


def note_came_back(db: Connection, first: int, last: int) -> None:
    """Entries between these came in: what follows from them is concluded anew. A job for the writer."""
    times.note_steps(db, first, last)
    batch_checks.compare_again(db)


def _row(item: EntryItem) -> tuple[Any, ...]:
    record = TransactionRecord(msgspec.convert(item.record, RecordFields), canonical_checked(item.record))
    at_ms = round(datetime.fromisoformat(item.at).timestamp() * 1000)
    mark = item.mark
    return row_of(
        item.seq,
        at_ms,
        offer(record),
        conflict_with=mark.conflict_with if mark is not None else None,
        duplicate_of=mark.duplicate_of if mark is not None else None,
        hash_=bytes.fromhex(item.hash),
    )
