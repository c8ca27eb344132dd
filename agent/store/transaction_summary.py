"""Counts and sums of the journal per binding, batch, currency and type. Reader thread only.

Taken batch by batch along an index, so that a long journal needs many short reads instead of one long one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from agent.contract.journal_views import SummaryItem, SummaryPage
from agent.contract.transaction_states import MONEY_COUNTS
from agent.errors import BadRequest
from agent.store.transaction_views import TransactionFilters, conditions

if TYPE_CHECKING:
    from agent.store.database import Connection

_BATCHES_PER_READ: Final = 20
_CURSOR: Final = re.compile(r"([0-9]{6}|-|)\.([0-9]{1,6})")
_NO_BATCH: Final = "-"


class _Place(Struct, frozen=True):
    """``batch`` under work ("" before the first, "-" for records without one), ``done`` of its lines given."""

    batch: str
    done: int

    def text(self) -> str:
        return f"{self.batch}.{self.done}"


def summary(db: Connection, filters: TransactionFilters, limit: int, cursor: str | None) -> SummaryPage:
    """Some lines of the summary: fewer than ``limit``, even none, does not mean that it is at its end.

    Only transactions whose current state moved money and was not undone count; contradicting entries do not.

    Raises:
        BadRequest: ``cursor``.
    """
    place = _place(cursor)
    items: list[SummaryItem] = []
    for batch in _batches(db, place.batch, filters):
        done = place.done if batch == place.batch else 0
        lines = _lines(db, filters, batch)
        room = limit - len(items)
        items += lines[done : done + room]
        if len(lines) - done > room:
            return SummaryPage(items, _Place(batch, done + room).text())
        if len(items) == limit and batch != _NO_BATCH:
            return SummaryPage(items, _Place(batch, len(lines)).text())
        place = _Place(batch, len(lines))
    return SummaryPage(items, None if place.batch == _NO_BATCH or filters.batch_no else place.text())


def _place(cursor: str | None) -> _Place:
    if cursor is None:
        return _Place("", 0)
    found = _CURSOR.fullmatch(cursor)
    if not found:
        raise BadRequest("this cursor is not one of ours", field="cursor", hint="send next_cursor as it was received")
    return _Place(found[1], int(found[2]))


def _batches(db: Connection, start: str, filters: TransactionFilters) -> list[str]:
    """The batches to take next, beginning with ``start`` itself; at their end those records that have none."""
    if filters.batch_no is not None:
        return [filters.batch_no]
    if start == _NO_BATCH:
        return [_NO_BATCH]
    rows = db.execute(
        """
        WITH RECURSIVE batches (batch) AS (
            SELECT min(batch_no) FROM entries WHERE batch_no >= ?
            UNION ALL
            SELECT (SELECT min(batch_no) FROM entries WHERE batch_no > batch) FROM batches WHERE batch IS NOT NULL)
        SELECT batch FROM batches WHERE batch IS NOT NULL LIMIT ?""",
        (start, _BATCHES_PER_READ),
    ).fetchall()
    batches = [str(batch) for (batch,) in rows]
    return batches if len(batches) == _BATCHES_PER_READ else [*batches, _NO_BATCH]


def _lines(db: Connection, filters: TransactionFilters, batch: str) -> list[SummaryItem]:
    wanted, values = conditions(filters)
    where = "".join(f" AND {condition}" for condition in wanted)
    states = ", ".join(f"'{state}'" for state in sorted(MONEY_COUNTS))
    rows = db.execute(
        f"""
        SELECT binding, batch_no, currency, type, count(*), coalesce(sum(amount_minor), 0)
          FROM entries AS entry
         WHERE batch_no IS ? AND conflict_with IS NULL AND state IN ({states}){where}
           AND NOT EXISTS (SELECT 1 FROM entries AS later WHERE later.transaction_id = entry.transaction_id
                              AND later.sequence > entry.sequence AND later.conflict_with IS NULL)
         GROUP BY binding, currency, type ORDER BY binding, currency, type""",  # noqa: S608  # names of our own
        (None if batch == _NO_BATCH else batch, *values),
    )
    return [SummaryItem(*binding.split("/"), *rest) for binding, *rest in rows]
