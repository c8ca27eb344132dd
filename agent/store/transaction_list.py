"""Lists of journal entries, filtered, a piece of the journal at a time. Reader thread only.

The cursor is a sequence, so that pages are stable while entries are added at one end and retention takes some from the
other. No filter reads for long: what has an index is sought by it, everything else is looked through in pieces, and a
piece without anything says where to go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import Struct

from agent.contract.journal_views import Page
from agent.errors import BadRequest
from agent.store import times
from agent.store.transaction_views import ENTRY, item_of

if TYPE_CHECKING:
    from agent.store.sqlite import Connection

MAX_LIMIT: Final = 1000
ENTRIES_PER_READ: Final = 20_000
FEW: Final = 2_000
"""So many entries of one STAN are sought by it and sorted; where there are more, any piece of the journal has some."""
_COLUMN_FILTERS: Final = ("transaction_id", "batch_no", "stan", "state", "type", "currency")
_BINDING: Final = ("provider", "mid", "tid")


class TransactionFilters(Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries a list shows; those without a value show all. Oldest first unless ``newest_first``.

    ``from_ms`` and ``to_ms``: stored at or after the one and before the other, in milliseconds since 1970 UTC.
    """

    transaction_id: str | None = None
    provider: str | None = None
    mid: str | None = None
    tid: str | None = None
    batch_no: str | None = None
    stan: str | None = None
    state: str | None = None
    type: str | None = None
    currency: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    newest_first: bool = False


class Bounds(NamedTuple):
    """Sequences after ``above`` and up to ``upto``."""

    above: int
    upto: int


def entries(db: Connection, filters: TransactionFilters, limit: int, cursor: str | None) -> Page:
    """What a piece of the journal has for a page: fewer than ``limit``, even none, does not mean that it is at its end.

    Raises:
        BadRequest: ``limit`` or ``cursor``.
    """
    check_limit(limit)
    whole = _bounds(db, filters, cursor)
    if whole.above >= whole.upto:
        return Page([], None)
    index = _index(db, filters)
    piece = whole if index == _BY_STAN else _piece(db, filters, index, whole)
    wanted, values = conditions(filters)
    wanted += ("sequence > ?", "sequence <= ?")
    rows = db.execute(
        f"SELECT {ENTRY} FROM entries {index} WHERE {' AND '.join(wanted)}"  # noqa: S608  # names of our own
        f" ORDER BY sequence {'DESC' if filters.newest_first else 'ASC'} LIMIT ?",
        (*values, *piece, limit + 1),
    ).fetchall()
    items = [item_of(row) for row in rows[:limit]]
    if len(rows) > limit:
        return Page(items, str(items[-1].seq))
    if piece == whole:
        return Page(items, None)
    return Page(items, str(piece.above + 1 if filters.newest_first else piece.upto))


def bounds(db: Connection, filters: TransactionFilters) -> Bounds:
    """Outside of these no entry has the wanted time."""
    first, last = db.execute(
        "SELECT (SELECT min(sequence) FROM entries), (SELECT max(sequence) FROM entries)"
    ).fetchone()
    if first is None:
        return Bounds(0, 0)
    if filters.from_ms is not None or filters.to_ms is not None:
        first_then, last_then = times.span(db, filters.from_ms, filters.to_ms)
        first, last = max(first, first_then), min(last, last_then)
    return Bounds(first - 1, last)


def conditions(filters: TransactionFilters) -> tuple[list[str], list[Any]]:
    """The filters as SQL conditions on an entry, and the values of their places."""
    wanted: list[str] = []
    values: list[Any] = []
    for name in _COLUMN_FILTERS:
        value = getattr(filters, name)
        if value is not None:
            wanted.append(f"{name} = ?")
            values.append(value)
    binding = [getattr(filters, name) for name in _BINDING]
    if any(part is not None for part in binding):  # no part may hold a slash, or any other sign of a pattern
        wanted.append("binding GLOB ?")
        values.append("/".join("*" if part is None else part for part in binding))
    for value, condition in ((filters.from_ms, "at >= ?"), (filters.to_ms, "at < ?")):
        if value is not None:
            wanted.append(condition)
            values.append(value)
    return wanted, values


def check_limit(limit: int) -> None:
    """Raises BadRequest unless ``limit`` is 1 to 1000."""
    if not 1 <= limit <= MAX_LIMIT:
        raise BadRequest("limit is out of range", field="limit", hint=f"1 to {MAX_LIMIT}")


_BY_TRANSACTION: Final = "INDEXED BY entries_by_transaction"
_BY_BATCH: Final = "INDEXED BY entries_by_batch"
_BY_STAN: Final = "INDEXED BY entries_by_natural_key"
_BY_SEQUENCE: Final = "NOT INDEXED"
_IN_ORDER: Final = {_BY_TRANSACTION: "transaction_id", _BY_BATCH: "batch_no"}
"""Indexes of one column, in which entries of one value stand in order of sequence."""


def _index(db: Connection, filters: TransactionFilters) -> str:
    """How to seek: told to SQLite in so many words, because it knows no figures of this journal to choose by."""
    if filters.transaction_id is not None:
        return _BY_TRANSACTION
    if filters.stan is not None:
        found = db.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM entries {_BY_STAN} WHERE stan = ? LIMIT ?)",  # noqa: S608  # ours
            (filters.stan, FEW + 1),
        ).fetchone()
        if found[0] <= FEW:
            return _BY_STAN
    return _BY_SEQUENCE if filters.batch_no is None else _BY_BATCH


def _bounds(db: Connection, filters: TransactionFilters, cursor: str | None) -> Bounds:
    above, upto = bounds(db, filters)
    if cursor is None:
        return Bounds(above, upto)
    position = _position(cursor)
    return Bounds(above, min(upto, position - 1)) if filters.newest_first else Bounds(max(above, position), upto)


def _piece(db: Connection, filters: TransactionFilters, index: str, whole: Bounds) -> Bounds:
    """As much of ``whole``, from the end where the list goes on, as one read can look through."""
    column = _IN_ORDER.get(index)
    if column is None:
        if filters.newest_first:
            return Bounds(max(whole.above, whole.upto - ENTRIES_PER_READ), whole.upto)
        return Bounds(whole.above, min(whole.upto, whole.above + ENTRIES_PER_READ))
    found = db.execute(
        f"SELECT sequence FROM entries {index} WHERE {column} = ? AND sequence > ? AND sequence <= ?"  # noqa: S608
        f" ORDER BY sequence {'DESC' if filters.newest_first else 'ASC'} LIMIT 1 OFFSET ?",
        (getattr(filters, column), *whole, ENTRIES_PER_READ),
    ).fetchone()
    if found is None:
        return whole
    return Bounds(found[0], whole.upto) if filters.newest_first else Bounds(whole.above, found[0] - 1)


def _position(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise BadRequest("this cursor is not one of ours", field="cursor", hint="send next_cursor as it was received")
    return int(cursor)
