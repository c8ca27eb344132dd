"""Reading the transaction journal: one transaction, and lists of entries. Reader thread only.

What entries do not say by themselves is computed here: how much of a sale was refunded, and that a balanced settlement
settled its batch. Nothing of it is written anywhere. Summaries are in ``transaction_summary.py``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from agent.contract.journal_views import Copies, EntryItem, Mark, Page, TransactionView
from agent.contract.transaction_form import RecordFields
from agent.contract.transaction_states import FOLLOWS
from agent.errors import BadRequest
from agent.runtime.clock import rfc3339
from agent.store.transaction_references import references_to

if TYPE_CHECKING:
    from agent.store.database import Connection

MAX_LIMIT: Final = 1000
_NEVER_SETTLED: Final = frozenset({"pre_auth", "pre_auth_void", "balance_inquiry", "sign_in", "sign_out", "settlement"})
_REFUND_COUNTS: Final = frozenset({"approved", "settled"})
_COLUMN_FILTERS: Final = ("transaction_id", "batch_no", "stan", "state", "type", "currency")
_RECORD_FILTERS: Final = ("provider", "mid", "tid")
_ENTRY: Final = "sequence, at, record, hash, conflict_with, duplicate_of"


class TransactionFilters(Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries a list shows; those without a value show all. Oldest first unless ``newest_first``."""

    transaction_id: str | None = None
    provider: str | None = None
    mid: str | None = None
    tid: str | None = None
    batch_no: str | None = None
    stan: str | None = None
    state: str | None = None
    type: str | None = None
    currency: str | None = None
    newest_first: bool = False


def view(db: Connection, transaction_id: str) -> TransactionView | None:
    """One transaction with its history, or None."""
    rows = db.execute(
        f"SELECT {_ENTRY}, state, binding, batch_no FROM entries WHERE transaction_id = ? ORDER BY sequence",  # noqa: S608
        (transaction_id,),
    ).fetchall()
    accepted = [row for row in rows if row[4] is None]
    if not accepted:
        return None
    record: dict[str, Any] = msgspec.json.decode(accepted[-1][2])
    refunded_minor, refund_sequence = _refunds(db, [msgspec.json.decode(row[2], type=RecordFields) for row in accepted])
    settled_sequence = 0
    if record["type"] not in _NEVER_SETTLED:
        settled_sequence = _settlement_after(db, accepted[-1])
    recorded = str(accepted[-1][6])
    if recorded == "settled" and refund_sequence < accepted[-1][0]:
        refund_sequence = 0  # it was refunded first and settled then
    state = _computed_state(recorded, refund_sequence, settled_sequence)
    current = {**record, "state": state, "refunded_minor": refunded_minor}
    return TransactionView(current, [_item(row[:6]) for row in rows], Copies(local=True, backup=False, collector=False))


def _computed_state(recorded: str, refund_sequence: int, settled_sequence: int) -> str:
    """The recorded state moved on by what refunds (at any time) and a later settlement do to it, in their order."""
    events = [(refund_sequence, "refunded"), (settled_sequence, "settled")]
    state = recorded
    for sequence, following in sorted(events):
        if sequence and following in FOLLOWS[state]:
            state = following
    return state


def _refunds(db: Connection, accepted: list[RecordFields]) -> tuple[int, int]:
    """Sum of the approved refunds of a transaction, and the sequence of the latest of them (0: none)."""
    references = sorted({reference for fields in accepted for reference in references_to(fields)})
    places = ", ".join("?" * len(references))
    found = db.execute(
        f"SELECT DISTINCT transaction_id FROM entries WHERE original IN ({places})",  # noqa: S608  # places only
        references,
    ).fetchall()
    total = latest = 0
    for (refund_id,) in found:
        sequence, state, amount_minor, record = db.execute(
            "SELECT sequence, state, amount_minor, record FROM entries"
            " WHERE transaction_id = ? AND conflict_with IS NULL ORDER BY sequence DESC LIMIT 1",
            (refund_id,),
        ).fetchone()
        refund = msgspec.json.decode(record, type=RecordFields)
        if state in _REFUND_COUNTS and refund_id != accepted[0].transaction_id and _same_day(refund, accepted):
            total += amount_minor or 0
            latest = max(latest, sequence)
    return total, latest


def _same_day(refund: RecordFields, accepted: list[RecordFields]) -> bool:
    """False when the refund names another day for its original: STANs wrap and come again."""
    wanted = refund.original.date if refund.original is not None else None
    if wanted is None or (refund.original is not None and refund.original.transaction_id is not None):
        return True
    digits = wanted.replace("-", "")
    return any(fields.local_at[:10].replace("-", "").endswith(digits) for fields in accepted)


def _settlement_after(db: Connection, row: tuple[Any, ...]) -> int:
    """Sequence of the first approved, balanced settlement of the entry's batch after it; 0 when there is none.

    One that was left again, through reversing or otherwise, is not approved any more.
    """
    sequence, binding, batch_no = row[0], row[7], row[8]
    if batch_no is None:
        return 0
    found = db.execute(
        "SELECT min(sequence) FROM entries AS settlement"
        " WHERE batch_no = ? AND binding = ? AND settles IS NOT NULL AND conflict_with IS NULL AND sequence > ?"
        " AND NOT EXISTS (SELECT 1 FROM entries AS later WHERE later.transaction_id = settlement.transaction_id"
        "  AND later.sequence > settlement.sequence AND later.conflict_with IS NULL AND later.state <> 'settled')",
        (batch_no, binding, sequence),
    ).fetchone()
    return int(found[0] or 0)


def entries(db: Connection, filters: TransactionFilters, limit: int, cursor: str | None) -> Page:
    """A page of journal entries.

    Raises:
        BadRequest: ``limit`` or ``cursor``.
    """
    check_limit(limit)
    wanted, values = conditions(filters)
    if cursor is not None:
        wanted.append("sequence < ?" if filters.newest_first else "sequence > ?")
        values.append(_position(cursor))
    where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
    order = "DESC" if filters.newest_first else "ASC"
    rows = db.execute(
        f"SELECT {_ENTRY} FROM entries {where} ORDER BY sequence {order} LIMIT ?",  # noqa: S608  # names of our own
        (*values, limit + 1),
    ).fetchall()
    items = [_item(row) for row in rows[:limit]]
    return Page(items, str(items[-1].seq) if len(rows) > limit else None)


def conditions(filters: TransactionFilters) -> tuple[list[str], list[Any]]:
    """The filters as SQL conditions on an entry, and the values of their places."""
    wanted: list[str] = []
    values: list[Any] = []
    for name in (*_COLUMN_FILTERS, *_RECORD_FILTERS):
        value = getattr(filters, name)
        if value is not None:
            wanted.append(f"{name} = ?" if name in _COLUMN_FILTERS else f"json_extract(record, '$.{name}') = ?")
            values.append(value)
    return wanted, values


def check_limit(limit: int) -> None:
    """Raises BadRequest unless ``limit`` is 1 to 1000."""
    if not 1 <= limit <= MAX_LIMIT:
        raise BadRequest("limit is out of range", field="limit", hint=f"1 to {MAX_LIMIT}")


def _position(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise BadRequest("this cursor is not one of ours", field="cursor", hint="send next_cursor as it was received")
    return int(cursor)


def _item(row: tuple[Any, ...]) -> EntryItem:
    sequence, at_ms, record, digest, conflict_with, duplicate_of = row
    marked = conflict_with is not None or duplicate_of is not None
    return EntryItem(
        seq=sequence,
        at=rfc3339(datetime.fromtimestamp(at_ms / 1000, UTC)),
        record=msgspec.json.decode(record),
        hash=digest.hex(),
        mark=Mark(conflict_with, duplicate_of) if marked else None,
    )
