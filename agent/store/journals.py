"""Which journals the entries in this file belong to: one row for each, the present one last. Plain SQL on a connection.

A restore or a rebuild begins a new journal that continues its parent's sequence and hash: who signs for entries (the
collector) can so tell a terminal that went on from one that was set back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from agent.store import chain, marks, meta
from agent.store.anchor import Anchor

if TYPE_CHECKING:
    from agent.store.database import Connection

FIRST_SCHEMA: Final = 5
"""Earlier schemas have no such table."""


class Journal(Struct, frozen=True):
    """One journal. ``base``: the last entry that is its parent's, with the chain there. ``cause``: why it began."""

    journal_id: str
    base: Anchor
    parent: str | None
    began_at_ms: int
    cause: str


def note_present(db: Connection, now: datetime) -> None:
    """Give the journal that table ``meta`` names its row; one that has it keeps it."""
    journal_id = meta.journal_id(db)
    db.execute(
        "INSERT INTO journals (journal_id, base_sequence, base_hash, parent, began_at, cause)"
        " VALUES (?, 0, ?, NULL, ?, 'new') ON CONFLICT DO NOTHING",
        (journal_id, chain.genesis(journal_id), int(now.timestamp() * 1000)),
    )


def continue_journal(db: Connection, journal_id: str, base: Anchor, now: datetime, *, cause: str) -> None:
    """Begin journal ``journal_id`` after ``base``, the present one being its parent; it is the present one then.

    Copies of the parent's entries after ``base`` are no copies of what will have those sequences here.
    """
    db.execute(
        "INSERT INTO journals (journal_id, base_sequence, base_hash, parent, began_at, cause)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (journal_id, base.sequence, base.hash, meta.journal_id(db), int(now.timestamp() * 1000), cause),
    )
    meta.rename_journal(db, journal_id, now)
    known = marks.marks(db)
    marks.set_backed_up(db, min(known.backed_up, base.sequence))
    marks.set_delivered(db, min(known.delivered, base.sequence))


def write_lineage(db: Connection, lineage: Sequence[Journal]) -> None:
    """Of a new file: its entries are of these journals, oldest first, the last one being the present one."""
    db.execute("DELETE FROM journals")
    db.executemany(
        "INSERT INTO journals (journal_id, base_sequence, base_hash, parent, began_at, cause)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [(one.journal_id, *one.base, one.parent, one.began_at_ms, one.cause) for one in lineage],
    )
    meta.rename_journal(db, lineage[-1].journal_id, datetime.fromtimestamp(lineage[-1].began_at_ms / 1000, UTC))


def present(db: Connection) -> Journal:
    """The journal that new entries belong to."""
    return next(one for one in journals(db) if one.journal_id == meta.journal_id(db))


def journals(db: Connection) -> list[Journal]:
    """Every journal this file knows of, oldest first."""
    rows = db.execute(
        "SELECT journal_id, base_sequence, base_hash, parent, began_at, cause FROM journals"
        " ORDER BY base_sequence, began_at, journal_id"
    )
    return [Journal(one, Anchor(sequence, hash_), *rest) for one, sequence, hash_, *rest in rows]
