"""Is there money in a batch that is not settled yet? Reader thread only.

Looked for from the newest entry backwards and in pieces: an unsettled batch is nearly always among the newest entries,
and where everything is settled a long journal needs many short reads instead of one long one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from agent.store.anchor import anchor

if TYPE_CHECKING:
    from agent.store.database import Connection

ENTRIES_PER_READ: Final = 10_000
ANY_TIME: Final = 2**62
_MONEY_MOVED: Final = "('approved', 'voided', 'refunded')"
_NOT_OF_A_BATCH: Final = "('pre_auth', 'pre_auth_void', 'balance_inquiry', 'sign_in', 'sign_out', 'settlement')"


IS_UNSETTLED: Final = f"""
    entry.batch_no IS NOT NULL AND entry.state IN {_MONEY_MOVED} AND entry.type NOT IN {_NOT_OF_A_BATCH}
    AND NOT EXISTS (
        SELECT 1 FROM entries AS settlement
         WHERE settlement.batch_no = entry.batch_no AND settlement.binding = entry.binding
           AND settlement.settles IS NOT NULL AND settlement.conflict_with IS NULL
           AND settlement.sequence > entry.sequence
           AND NOT EXISTS (SELECT 1 FROM entries AS later WHERE later.transaction_id = settlement.transaction_id
                              AND later.sequence > settlement.sequence AND later.conflict_with IS NULL
                              AND later.state <> 'settled'))"""  # noqa: S608  # words of our own
"""Of ``entry``, the latest of its transaction, as a condition of SQL."""


class Piece(NamedTuple):
    """``batch_no``: of an unsettled transaction, None when there is none; ``below``: where to go on, 0: nowhere."""

    batch_no: str | None
    below: int


def unsettled(db: Connection, below: int | None, *, above: int = 0, stored_before_ms: int = ANY_TIME) -> Piece:
    """Look at a piece of the journal: entries before sequence ``below`` (None: up to the newest) and after ``above``.

    ``stored_before_ms``: pass over what was stored later, in milliseconds since 1970 UTC.

    A transaction counts by its latest state. It is settled by an approved, balanced settlement of its batch that was
    recorded later and is still one: one that was reversed settles nothing.
    """
    if below is None:
        below = int(db.execute("SELECT coalesce(max(sequence), 0) FROM entries").fetchone()[0]) + 1
    above = max(above, anchor(db).sequence)
    first = max(below - ENTRIES_PER_READ, above + 1)
    found = db.execute(
        f"""
        SELECT batch_no FROM entries AS entry
         WHERE sequence >= ? AND sequence < ? AND at < ? AND conflict_with IS NULL AND {IS_UNSETTLED}
           AND NOT EXISTS (SELECT 1 FROM entries AS later WHERE later.transaction_id = entry.transaction_id
                              AND later.sequence > entry.sequence AND later.conflict_with IS NULL)
         ORDER BY sequence DESC LIMIT 1""",  # noqa: S608  # words of our own
        (first, below, stored_before_ms),
    ).fetchone()
    if found is not None:
        return Piece(str(found[0]), 0)
    return Piece(None, first if first > above + 1 else 0)
