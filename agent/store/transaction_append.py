"""Adding to the transaction journal: what a record is judged to be, its place in the chain, its row.

A whole group of records costs a few statements: one looks for what is known already, and the rest are rows. Nothing is
ever changed or removed here. All of it runs on the writer's thread, but for `offer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from agent.contract.canonical_json import canonical_checked
from agent.contract.transaction import TransactionRecord, mti_class
from agent.contract.transaction_states import Judgement, Recorded, Verdict, judge
from agent.errors import AgentError, InvalidTransition, TransactionConflict
from agent.runtime.clock import Clock
from agent.store import chain, times
from agent.store.anchor import anchor
from agent.store.tail_witness import TAIL
from agent.store.transaction_references import original_reference

if TYPE_CHECKING:
    from agent.store.database import Connection

_NO_TIME: Final = -1
_COLUMNS: Final = (
    *("sequence", "at", "transaction_id", "state", "attempt", "type", "binding", "batch_no", "stan", "natural_rest"),
    *("currency", "amount_minor", "original", "settles", "conflict_with", "duplicate_of", "record", "hash"),
)
_ROWS_AT_ONCE: Final = (32, 8, 4, 2, 1)
_LOOK_UPS_AT_ONCE: Final = (32, 8, 1)


class Stored(NamedTuple):
    """Where a record stands in the journal. ``duplicate_of``: the other transaction under the same natural key."""

    sequence: int
    duplicate: bool
    duplicate_of: str | None


class Offer(NamedTuple):
    """A record made ready for its row, before it is known what it is."""

    transaction_id: str
    state: str
    attempt: int
    type: str
    binding: str
    batch_no: str | None
    stan: str | None
    natural_rest: str | None
    currency: str | None
    amount_minor: int | None
    original: str | None
    settles: int | None
    record: str
    digest: bytes

    @property
    def natural_key(self) -> tuple[str | None, ...] | None:
        return None if self.natural_rest is None else (self.stan, self.batch_no, self.binding, self.natural_rest)


def offer(record: TransactionRecord) -> Offer:
    """Everything about a record that can be said without the journal; done on the caller's side, not the writer's."""
    fields = record.fields
    has_key = fields.stan is not None and fields.batch_no is not None
    return Offer(
        fields.transaction_id,
        fields.state,
        fields.attempt or 1,
        fields.type,
        f"{fields.provider}/{fields.mid}/{fields.tid}",
        fields.batch_no,
        fields.stan,
        f"{mti_class(fields)}/{fields.local_at[:10]}" if has_key else None,
        fields.currency,
        fields.amount_minor,
        original_reference(fields) if fields.original is not None else None,
        1 if fields.balanced and fields.state == "approved" else None,
        record.canonical.decode(),
        chain.record_digest(record.canonical),
    )


def row_of(
    sequence: int, at_ms: int, each: Offer, *, conflict_with: int | None, duplicate_of: str | None, hash_: bytes
) -> tuple[Any, ...]:
    """An entry as the values of its row, in the order of the table's columns."""
    *columns, record, _digest = each
    if conflict_with is not None:  # disputed content neither claims a natural key nor counts as money
        columns[_NATURAL_REST] = columns[_ORIGINAL] = columns[_SETTLES] = None
    return (sequence, at_ms, *columns, conflict_with, duplicate_of, record, hash_)


class Appender:
    """The journal's writing end. ``on_conflict`` is told the stored sequence, from the writer's thread."""

    def __init__(self, clock: Clock, on_conflict: Callable[[int], None]) -> None:
        self._clock = clock
        self._on_conflict = on_conflict

    def append(self, db: Connection, offers: Sequence[Offer]) -> list[Stored | AgentError]:
        """Store a group of records in order; returns what each caller is told. Repeats are harmless."""
        group = _Group(db, int(self._clock.now().timestamp() * 1000))
        known, twins = _look_up(db, offers)
        outcomes: list[Stored | AgentError] = []
        for each in offers:
            key = each.natural_key
            twin = twins.get(key) if key is not None else None
            duplicate_of = twin if twin != each.transaction_id else None
            if each.transaction_id not in known:
                judgement = Judgement(Verdict.NEW, 0)
                known.add(each.transaction_id)
            else:
                group.write()
                judgement = judge(_history(db, each.transaction_id), each.state, each.attempt, _content(each.record))
            outcomes.append(self._outcome(group, each, judgement, duplicate_of))
            if key is not None and twin is None and judgement.verdict is Verdict.NEW:
                twins[key] = each.transaction_id
        group.write()
        group.keep_tail()
        return outcomes

    def _outcome(
        self, group: _Group, each: Offer, judgement: Judgement, duplicate_of: str | None
    ) -> Stored | AgentError:
        match judgement.verdict:
            case Verdict.NEW:
                return Stored(group.add(each, None, duplicate_of), False, duplicate_of)
            case Verdict.DUPLICATE:
                return Stored(judgement.sequence, True, duplicate_of)
            case Verdict.CONFLICT:
                sequence = group.add(each, judgement.sequence, duplicate_of)
                self._on_conflict(sequence)
                return _conflict(sequence)
            case Verdict.KNOWN_CONFLICT:
                return _conflict(judgement.sequence)
            case Verdict.INVALID:
                return InvalidTransition(
                    "this state cannot follow the recorded one: not stored",
                    field="state",
                    hint="ask transaction.get what is recorded; do not retry",
                )


class _Group:
    """Rows waiting to be written together, and the end of the chain with them."""

    def __init__(self, db: Connection, at_ms: int) -> None:
        self._db = db
        self._at_ms = at_ms
        self._rows: list[tuple[Any, ...]] = []
        tail: tuple[int, bytes, int] = db.kept.get(TAIL) or (*journal_end(db), _last_time(db))
        self._sequence, self._hash, self._last_ms = tail

    def add(self, each: Offer, conflict_with: int | None, duplicate_of: str | None) -> int:
        """Give the record the next sequence and link it into the chain."""
        sequence = self._sequence = self._sequence + 1
        if self._last_ms != _NO_TIME and times.is_step(self._last_ms, self._at_ms):
            times.note_step(self._db, sequence)
        self._last_ms = self._at_ms
        self._hash = chain.link(self._hash, sequence, each.digest)
        self._rows.append(
            row_of(
                sequence, self._at_ms, each, conflict_with=conflict_with, duplicate_of=duplicate_of, hash_=self._hash
            )
        )
        return sequence

    def write(self) -> None:
        """Put the waiting rows into the table."""
        for rows in _portions(self._rows, _ROWS_AT_ONCE):
            self._db.execute(_INSERTS[len(rows)], [value for row in rows for value in row])
        self._rows.clear()

    def keep_tail(self) -> None:
        """Remember the end of the chain for the next group; a roll-back forgets it."""
        self._db.kept[TAIL] = (self._sequence, self._hash, self._last_ms)


_NATURAL_REST: Final = Offer._fields.index("natural_rest")
_ORIGINAL: Final = Offer._fields.index("original")
_SETTLES: Final = Offer._fields.index("settles")
_INSERTS: Final = {
    count: f"INSERT INTO entries ({', '.join(_COLUMNS)}) VALUES "  # noqa: S608  # names of our own, no input
    + ", ".join([f"({', '.join('?' * len(_COLUMNS))})"] * count)
    for count in _ROWS_AT_ONCE
}
INSERT_ONE: Final = _INSERTS[1]
_LOOK_UPS: Final = {
    count: f"""
    WITH wanted (id, stan_, batch_, binding_, rest_) AS (VALUES {", ".join(["(?, ?, ?, ?, ?)"] * count)})
    SELECT id,
           EXISTS (SELECT 1 FROM entries WHERE transaction_id = id) AS known,
           (SELECT transaction_id FROM entries
             WHERE stan = stan_ AND batch_no = batch_ AND binding = binding_ AND natural_rest = rest_
             ORDER BY sequence LIMIT 1) AS twin,
           stan_, batch_, binding_, rest_
      FROM wanted WHERE known OR twin IS NOT NULL"""  # noqa: S608  # only the number of places varies
    for count in _LOOK_UPS_AT_ONCE
}


def _look_up(db: Connection, offers: Sequence[Offer]) -> tuple[set[str], dict[tuple[str | None, ...], str]]:
    """Which transactions are known, and whose the natural keys are."""
    known: set[str] = set()
    twins: dict[tuple[str | None, ...], str] = {}
    for portion in _portions(offers, _LOOK_UPS_AT_ONCE):
        wanted: list[str | None] = []
        for each in portion:
            wanted += (each.transaction_id, each.stan, each.batch_no, each.binding, each.natural_rest)
        for identifier, is_known, twin, *key in db.execute(_LOOK_UPS[len(portion)], wanted).fetchall():
            if is_known:
                known.add(identifier)
            if twin is not None:
                twins[tuple(key)] = twin
    return known, twins


def _portions(items: Sequence[Any], sizes: tuple[int, ...]) -> Iterator[Sequence[Any]]:
    """``items`` in pieces of the given sizes, largest first; the last size is 1."""
    start = 0
    for size in sizes:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size


def journal_end(db: Connection) -> tuple[int, bytes]:
    """Sequence and hash after which the next entry comes: the last entry's, or where the journal begins without it.

    While entries come back from a damaged file, and where its last ones are lost, the present journal's base is later
    than any entry here.
    """
    last = db.execute("SELECT sequence, hash FROM entries ORDER BY sequence DESC LIMIT 1").fetchone()
    base = db.execute(
        "SELECT base_sequence, base_hash FROM journals WHERE journal_id = (SELECT value FROM meta WHERE name = ?)",
        ("journal_id",),
    ).fetchone()
    ends = [end for end in (last, base, anchor(db)) if end is not None]
    sequence, hash_ = max(ends, key=lambda end: int(end[0]))
    return int(sequence), bytes(hash_)


def _last_time(db: Connection) -> int:
    row = db.execute("SELECT at FROM entries ORDER BY sequence DESC LIMIT 1").fetchone()
    return _NO_TIME if row is None else int(row[0])


def _history(db: Connection, transaction_id: str) -> list[Recorded]:
    rows = db.execute(
        "SELECT sequence, state, attempt, record, conflict_with"
        " FROM entries WHERE transaction_id = ? ORDER BY sequence",
        (transaction_id,),
    )
    return [
        Recorded(sequence, state, attempt, _content(record), conflict_with is not None)
        for sequence, state, attempt, record, conflict_with in rows
    ]


def _content(record: str) -> bytes:
    """A record's bytes without its attempt, which is compared by itself (none is 1)."""
    if '"attempt":' not in record:
        return record.encode()
    fields: dict[str, object] = msgspec.json.decode(record)
    fields.pop("attempt", None)
    return canonical_checked(fields)


def _conflict(sequence: int) -> TransactionConflict:
    return TransactionConflict(
        "the same transaction and state is recorded with other content: stored and marked",
        hint="do not retry; the entry is kept for a person to look at",
        sequence=sequence,
    )
