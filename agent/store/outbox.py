"""Messages that must reach the broker: written in the same commit as the fact they tell, deleted once acknowledged.

A retained message replaces a waiting one of the same topic, because only the newest counts. The queue is bounded: when
too many wait, the oldest events go first and are counted; retained messages and states are never dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from agent.contract.publication import Publication
from agent.store import meta
from agent.store.database import Database, Worth

if TYPE_CHECKING:
    from agent.store.database import Connection

MAX_ROWS: Final = 10_000
_DROPPED_KEY: Final = "outbox_dropped"


class OutboxRow(Struct, frozen=True):
    """One waiting message; ``id`` grows with the order of queueing."""

    id: int
    publication: Publication
    queued_at: datetime


def put(db: Connection, publication: Publication, at: datetime, *, max_rows: int = MAX_ROWS) -> int:
    """Queue a message inside anyone's job; returns its id.

    Args:
        max_rows: Beyond this many waiting, the oldest events that are not retained are dropped and counted.
    """
    if publication.retain:
        db.execute("DELETE FROM outbox WHERE below = ? AND retain = 1", (publication.below,))
    identifier = db.execute(
        "INSERT INTO outbox (below, payload, qos, retain, message_expiry_s, queued_at) VALUES (?, ?, ?, ?, ?, ?)",
        (
            publication.below,
            publication.payload,
            publication.qos,
            int(publication.retain),
            publication.message_expiry_s,
            int(at.timestamp() * 1000),
        ),
    ).lastrowid
    (span,) = db.execute("SELECT max(id) - min(id) + 1 FROM outbox").fetchone()
    excess = _count(db) - max_rows if span > max_rows else 0  # counting costs, and there are never more than the span
    if excess > 0:
        dropped = db.execute(
            "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE retain = 0 ORDER BY id LIMIT ?)", (excess,)
        ).rowcount
        meta.put(db, _DROPPED_KEY, str(int(meta.get(db, _DROPPED_KEY) or 0) + dropped))
    return int(identifier or 0)


class Outbox:
    """The publisher's side of the queue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting(self, after_id: int, limit: int) -> list[OutboxRow]:
        """The next messages in order, at most ``limit``, beginning after ``after_id`` (0: from the first)."""
        return await self._database.read(lambda db: _waiting(db, after_id, limit))

    async def sent(self, ids: Iterable[int]) -> None:
        """Forget messages that the broker acknowledged; unknown ids are ignored."""
        gone = [(identifier,) for identifier in ids]
        if gone:
            await self._database.write(lambda db: _forget(db, gone), worth=Worth.OUTBOX)

    async def count(self) -> int:
        """How many wait."""
        return await self._database.read(_count)

    async def dropped(self) -> int:
        """How many were dropped since the journal began, because too many waited."""
        return await self._database.read(lambda db: int(meta.get(db, _DROPPED_KEY) or 0))


def _count(db: Connection) -> int:
    return int(db.execute("SELECT count(*) FROM outbox").fetchone()[0])


def _waiting(db: Connection, after_id: int, limit: int) -> list[OutboxRow]:
    rows = db.execute(
        "SELECT id, below, payload, qos, retain, message_expiry_s, queued_at"
        " FROM outbox WHERE id > ? ORDER BY id LIMIT ?",
        (after_id, limit),
    )
    return [
        OutboxRow(
            identifier,
            Publication(below, bytes(payload), qos, bool(retain), expiry_s),
            datetime.fromtimestamp(queued_ms / 1000, UTC),
        )
        for identifier, below, payload, qos, retain, expiry_s, queued_ms in rows
    ]


def _forget(db: Connection, gone: Sequence[tuple[int]]) -> None:
    db.executemany("DELETE FROM outbox WHERE id = ?", gone)
