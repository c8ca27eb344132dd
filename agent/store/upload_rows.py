"""Journal entries as they go to the collector, and how far it has them. Plain SQL on a connection.

What an acknowledgement means is decided in ``agent/uplink``; here is only what it is held against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw, Struct

from agent.errors import StoreDamaged, StoreUnavailable
from agent.store import chain, journals, marks, meta, rebuild
from agent.store.anchor import anchor
from agent.store.transaction_views import ENTRY, item_of

if TYPE_CHECKING:
    from agent.store.database import Connection

ENTRIES_LIMIT: Final = 24
"""No more than this many of the smallest go into one message."""


class Piece(Struct, frozen=True):
    """The content of one message: entries ``from_seq`` to ``upto_seq`` of this journal, without a hole, as JSON.

    ``payload`` is empty when there are none.
    """

    journal_id: str
    from_seq: int
    upto_seq: int
    payload: bytes


class Standing(Struct, frozen=True):
    """How far the collector has this journal, by its own word."""

    journal_id: str
    delivered: int


class Held(Struct, frozen=True):
    """What an acknowledgement is held against.

    Attributes:
        last: The last entry of the journal.
        chain: What the chain may be at the acknowledged sequence; empty when there is no entry here to compare with.
        first_from: The first entry here at or after the one asked for again, or the one itself while it may still come
            back out of a damaged file; ``last + 1`` when there is none.
    """

    journal_id: str
    last: int
    chain: tuple[str, ...]
    first_from: int


class _Outgoing(Struct, frozen=True):
    """`EntryBatch` with its entries encoded already."""

    journal_id: str
    from_seq: int
    entries: list[Raw]


def piece_after(db: Connection, sequence: int, max_bytes: int) -> Piece:
    """The next entries after ``sequence``: as many as fit, at least one, if there are any.

    Raises:
        StoreDamaged: An entry is not what was stored.
        StoreUnavailable: Those before the next one may still come back out of a damaged file.
    """
    journal_id = meta.journal_id(db)
    rows = db.execute(
        f"SELECT {ENTRY} FROM entries WHERE sequence > ? ORDER BY sequence LIMIT ?",  # noqa: S608  # names of our own
        (sequence, ENTRIES_LIMIT),
    ).fetchall()
    try:
        items = [item_of(row) for row in rows]
    except msgspec.DecodeError as err:
        raise StoreDamaged(
            f"an entry after sequence {sequence} cannot be read", hint="have the journal verified"
        ) from err
    if not items:
        return Piece(journal_id, sequence + 1, sequence, b"")
    if items[0].seq > sequence + 1 and _may_come_back(db, sequence + 1):
        raise StoreUnavailable(f"entries after sequence {sequence} are being brought back", hint="ask again later")
    size = len(msgspec.json.encode(_Outgoing(journal_id, items[0].seq, [])))
    encoded: list[Raw] = []
    for number, item in enumerate(items):
        data = msgspec.json.encode(item)
        size += len(data) + 1
        if encoded and (size > max_bytes or item.seq != items[0].seq + number):
            break
        encoded.append(Raw(data))
    first = items[0].seq
    payload = msgspec.json.encode(_Outgoing(journal_id, first, encoded))
    return Piece(journal_id, first, first + len(encoded) - 1, payload)


def standing(db: Connection) -> Standing:
    """Which journal this is, and how far it is delivered."""
    return Standing(meta.journal_id(db), min(marks.marks(db).delivered, _last(db)))


def held_against(db: Connection, upto_seq: int, resend_from: int | None) -> Held:
    """The facts for one acknowledgement."""
    last, present = _last(db), journals.present(db)
    first_from = last + 1
    if resend_from is not None:
        row = db.execute("SELECT min(sequence) FROM entries WHERE sequence >= ?", (resend_from,)).fetchone()
        first_from = resend_from if _may_come_back(db, resend_from) else int(row[0] or last + 1)
    hashes = [known.hash for known in (anchor(db), present.base) if known.sequence == upto_seq]
    if upto_seq == 0:  # "I have nothing": a journal that continues another's may be one that the collector never saw
        hashes.append(chain.genesis(present.journal_id))
    hashes += db.execute("SELECT hash FROM entries WHERE sequence = ?", (upto_seq,)).fetchone() or ()
    return Held(present.journal_id, last, tuple(one.hex() for one in hashes), first_from)


def deliver(db: Connection, journal_id: str, upto: int) -> bool:
    """Set the mark; false, and nothing is changed, when this is another journal by now. A job for the writer."""
    if meta.journal_id(db) != journal_id:
        return False
    marks.set_delivered(db, upto)
    return True


def _may_come_back(db: Connection, sequence: int) -> bool:
    """Whether a rebuild that is under way has not got to it: the newest come back first."""
    state = rebuild.under_way(db)
    return state is not None and state.anchor < sequence < state.below


def _last(db: Connection) -> int:
    (last,) = db.execute("SELECT max(sequence) FROM entries").fetchone()
    return int(last or anchor(db).sequence)
