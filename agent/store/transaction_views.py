"""Reading one transaction: what is recorded of it, and what follows from other entries. Reader thread only.

What entries do not say by themselves is computed here: how much of a sale was refunded, that a balanced settlement
settled its batch, and where its entries have copies. Nothing of it is written anywhere.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from agent.contract.journal_views import Copies, EntryItem, Mark, TransactionView
from agent.contract.transaction_form import RecordFields
from agent.contract.transaction_states import FOLLOWS
from agent.runtime.clock import rfc3339
from agent.store.marks import marks
from agent.store.transaction_references import references_to

if TYPE_CHECKING:
    from agent.store.database import Connection

_NEVER_SETTLED: Final = frozenset({"pre_auth", "pre_auth_void", "balance_inquiry", "sign_in", "sign_out", "settlement"})
_REFUND_COUNTS: Final = frozenset({"approved", "settled"})
ENTRY: Final = "sequence, at, record, hash, conflict_with, duplicate_of"


def view(db: Connection, transaction_id: str) -> TransactionView | None:
    """One transaction with as much of its history as retention has left, or None."""
    rows = db.execute(
        f"SELECT {ENTRY}, state, binding, batch_no FROM entries WHERE transaction_id = ? ORDER BY sequence",  # noqa: S608
        (transaction_id,),
    ).fetchall()
    if not rows:
        return None
    # Where retention has taken all but what contradicts, the first of that is the first content there is.
    accepted = [row for row in rows if row[4] is None] or rows[:1]
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
    return TransactionView(current, [item_of(row[:6]) for row in rows], _copies(db, upto=rows[-1][0]))


def _copies(db: Connection, *, upto: int) -> Copies:
    """Where all entries of a transaction are, ``upto`` being its latest."""
    copied = marks(db)
    return Copies(local=True, backup=upto <= copied.backed_up, collector=upto <= copied.delivered)


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


def item_of(row: tuple[Any, ...]) -> EntryItem:
    """A row of `ENTRY` as the entry it is shown and sent as."""
    sequence, at_ms, record, digest, conflict_with, duplicate_of = row
    marked = conflict_with is not None or duplicate_of is not None
    return EntryItem(
        seq=sequence,
        at=rfc3339(datetime.fromtimestamp(at_ms / 1000, UTC)),
        record=msgspec.json.decode(record),
        hash=digest.hex(),
        mark=Mark(conflict_with, duplicate_of) if marked else None,
    )
