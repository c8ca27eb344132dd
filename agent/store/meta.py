"""Small facts about the store itself, one row each: whose journal it is, since when, how often the agent started.

Plain SQL on a connection: the writing ones are jobs for ``Database.write``, the reading ones also for ``read``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from agent.runtime.clock import rfc3339
from agent.runtime.identifiers import uuid7

if TYPE_CHECKING:
    from agent.store.database import Connection

_JOURNAL_ID: Final = "journal_id"
_BEGAN_AT: Final = "journal_began_at"
_STARTS: Final = "start_counter"


def get(db: Connection, name: str) -> str | None:
    """The text stored under ``name``, or None."""
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def put(db: Connection, name: str, value: str) -> None:
    """Store ``value`` under ``name``, in place of what was there."""
    db.execute(
        "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (name, value)
    )


def begin_journal(db: Connection, now: datetime) -> None:
    """Give a new file its journal's name and beginning; one that has them keeps them."""
    db.executemany(
        "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING",
        ((_JOURNAL_ID, uuid7()), (_BEGAN_AT, rfc3339(now))),
    )


def rename_journal(db: Connection, journal_id: str, now: datetime) -> None:
    """From now on the journal in this file is another one, begun now: see ``journals.py``."""
    put(db, _JOURNAL_ID, journal_id)
    put(db, _BEGAN_AT, rfc3339(now))


def journal_id(db: Connection) -> str:
    """The UUID of this journal, 36 lower-case characters."""
    return get(db, _JOURNAL_ID) or ""


def journal_began_at(db: Connection) -> datetime:
    """When this journal was begun, in UTC."""
    return datetime.fromisoformat(get(db, _BEGAN_AT) or "").astimezone(UTC)


def next_start_counter(db: Connection) -> int:
    """Count one more start of the agent; 1 at the first. A job for the writer."""
    counter = int(get(db, _STARTS) or 0) + 1
    put(db, _STARTS, str(counter))
    return counter
