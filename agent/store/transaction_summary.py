"""Counts and sums of the journal per binding, batch, currency and type. Reader thread only.

Taken batch by batch along an index, and a large batch in pieces, so that a long journal needs many short reads instead
of one long one. All pieces of a page speak of the journal as it was at the first of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from agent.contract.journal_views import SummaryItem, SummaryPage
from agent.contract.transaction_states import MONEY_COUNTS
from agent.errors import BadRequest
from agent.store.transaction_list import Bounds, TransactionFilters, bounds, check_limit, conditions

if TYPE_CHECKING:
    from agent.store.sqlite import Connection

ENTRIES_PER_READ: Final = 5_000
BATCHES_PER_READ: Final = 50
_CURSOR: Final = re.compile(r"([0-9]{6}|-|)\.([0-9]{1,6})")
_NO_BATCH: Final = "-"
_STATES: Final = ", ".join(f"'{state}'" for state in sorted(MONEY_COUNTS))


class _Place(Struct, frozen=True):
    """``batch`` under work ("" before the first, "-" for records without one), ``done`` of its lines given."""

    batch: str
    done: int

    def text(self) -> str:
        return f"{self.batch}.{self.done}"


class Summing:
    """One page under work: `step` reads a piece, and has the page when it is complete.

    Only transactions whose current state moved money and was not undone count, where they stand now; contradicting
    entries do not.
    """

    def __init__(self, filters: TransactionFilters, limit: int, cursor: str | None) -> None:
        """Raises BadRequest: ``limit`` or ``cursor``."""
        check_limit(limit)
        self._filters = filters
        self._limit = limit
        self._place = _place(cursor)
        self._items: list[SummaryItem] = []
        self._batches: list[str] | None = None
        self._upto = 0  # nothing that was recorded after the first piece counts
        self._whole = Bounds(0, 0)
        self._above = 0
        self._sums: dict[tuple[str, str, str], tuple[str | None, int, int]] = {}

    def step(self, db: Connection) -> SummaryPage | None:
        """Read on; None: the page needs more pieces."""
        if self._batches is None:
            self._upto = db.execute("SELECT coalesce(max(sequence), 0) FROM entries").fetchone()[0]
            self._whole = bounds(db, self._filters)
            self._above = self._whole.above
            self._batches = self._next_batches(db)
        looked_at, batches = 0, 0
        while looked_at < ENTRIES_PER_READ and batches < BATCHES_PER_READ:
            batch = self._batches[0]
            count, is_whole = self._add_piece(db, batch, ENTRIES_PER_READ - looked_at)
            looked_at += count
            if not is_whole:
                return None
            batches += 1
            page = self._end_of(db, batch)
            if page is not None:
                return page
        return None

    def _add_piece(self, db: Connection, batch: str, most: int) -> tuple[int, bool]:
        """Add up to ``most`` entries of a batch; how many there were, and whether that was the rest of it."""
        named = None if batch == _NO_BATCH else batch
        count, last = db.execute(
            "SELECT count(*), max(sequence) FROM (SELECT sequence FROM entries INDEXED BY entries_by_batch"
            " WHERE batch_no IS ? AND sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?)",
            (named, self._above, self._whole.upto, most),
        ).fetchone()
        if count:
            self._add(db, named, Bounds(self._above, last))
            self._above = last
        return count, count < most

    def _add(self, db: Connection, batch: str | None, piece: Bounds) -> None:
        wanted, values = conditions(self._filters)
        where = "".join(f" AND {condition}" for condition in wanted)
        rows = db.execute(
            f"""
            SELECT binding, currency, type, count(*), coalesce(sum(amount_minor), 0)
              FROM entries AS entry INDEXED BY entries_by_batch
             WHERE batch_no IS ? AND sequence > ? AND sequence <= ?
               AND conflict_with IS NULL AND state IN ({_STATES}){where}
               AND NOT EXISTS (SELECT 1 FROM entries AS later WHERE later.transaction_id = entry.transaction_id
                                  AND later.sequence > entry.sequence AND later.sequence <= ?
                                  AND later.conflict_with IS NULL)
             GROUP BY binding, currency, type""",  # noqa: S608  # names of our own
            (batch, *piece, *values, self._upto),
        )
        for binding, currency, kind, count, total in rows:
            key = (binding, currency or "", kind)
            _, count_before, total_before = self._sums.get(key, (currency, 0, 0))
            self._sums[key] = (currency, count_before + count, total_before + total)

    def _end_of(self, db: Connection, batch: str) -> SummaryPage | None:
        """Take the lines of a batch that is added up; the page, when it is complete with them."""
        lines = []
        for (binding, _, kind), (currency, count, total) in sorted(self._sums.items(), key=lambda line: line[0]):
            provider, mid, tid = binding.split("/")
            batch_no = None if batch == _NO_BATCH else batch
            lines.append(SummaryItem(provider, mid, tid, batch_no, currency, kind, count, total))
        done = self._place.done if batch == self._place.batch else 0
        room = self._limit - len(self._items)
        self._items += lines[done : done + room]
        self._sums = {}
        self._above = self._whole.above
        if len(lines) - done > room:
            return SummaryPage(self._items, _Place(batch, done + room).text())
        self._place = _Place(batch, len(lines))
        if batch == _NO_BATCH or self._filters.batch_no is not None:
            return SummaryPage(self._items, None)
        if len(self._items) == self._limit:
            return SummaryPage(self._items, self._place.text())
        self._batches = (self._batches or [])[1:] or self._next_batches(db)
        return None

    def _next_batches(self, db: Connection) -> list[str]:
        """The batches to take next, beginning with the one under work; at their end those records that have none."""
        if self._filters.batch_no is not None:
            return [self._filters.batch_no]
        if self._place.batch == _NO_BATCH:
            return [_NO_BATCH]
        rows = db.execute(
            """
            WITH RECURSIVE batches (batch) AS (
                SELECT min(batch_no) FROM entries WHERE batch_no >= ?
                UNION ALL
                SELECT (SELECT min(batch_no) FROM entries WHERE batch_no > batch) FROM batches WHERE batch IS NOT NULL)
            SELECT batch FROM batches WHERE batch IS NOT NULL LIMIT ?""",
            (self._place.batch, BATCHES_PER_READ),
        ).fetchall()
        batches = [str(batch) for (batch,) in rows]
        return batches if len(batches) == BATCHES_PER_READ else [*batches, _NO_BATCH]


def _place(cursor: str | None) -> _Place:
    if cursor is None:
        return _Place("", 0)
    found = _CURSOR.fullmatch(cursor)
    if not found:
        raise BadRequest("this cursor is not one of ours", field="cursor", hint="send next_cursor as it was received")
    return _Place(found[1], int(found[2]))
