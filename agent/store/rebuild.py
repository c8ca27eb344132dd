"""What stands in the new file while a damaged one is being read out: where from, how far, and what to tell people.

One row in table ``meta``, gone when everything that could be read is back. Plain SQL on a connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from agent.store import meta
from agent.store.anchor import Anchor, move_anchor
from agent.store.entry_rows import note_came_back
from agent.store.transaction_append import INSERT_ONE

if TYPE_CHECKING:
    from agent.store.database import Connection

_KEY: Final = "rebuild"
_IGNORING: Final = INSERT_ONE.replace("INSERT INTO", "INSERT OR IGNORE INTO")
HASH_COLUMN: Final = 17

Span = tuple[int, int]


class Rebuild(Struct, frozen=True):
    """One rebuild under way.

    Attributes:
        files: Names of the set-aside files beside this one, the newest first: several, when the file that was being
            rebuilt was damaged in its turn; none, when there was nothing left to set aside.
        found_at: RFC 3339.
        journal_id: Of the journal that was begun for it; ``parent``: of the one before, None when nothing told.
        base: The last sequence that may have been given out before; new entries come after it.
        base_is_certain: False when room was left, because nothing tells where the journal ended.
        anchor: Where the old journal's chain began; ``anchor_hash`` is empty when nothing told.
        known_hashes: (sequence, hash) of the old chain from other places than its entries, hexadecimal.
        below: Entries from here on are back already; counts down.
        recovered: How many are back.
        tables: Names of other tables that could not be read whole.
    """

    files: tuple[str, ...]
    reason: str
    found_at: str
    journal_id: str
    parent: str | None
    base: int
    base_is_certain: bool
    anchor: int
    anchor_hash: str
    known_hashes: tuple[tuple[int, str], ...]
    below: int
    recovered: int = 0
    tables: tuple[str, ...] = ()


class Report(Struct, frozen=True):
    """What people are told, as JSON beside the set-aside file. Times RFC 3339; spans are first and last sequence."""

    what_was_found: str
    found_at: str
    finished_at: str | None
    set_aside_as: str | None
    old_journal_id: str | None
    new_journal_id: str
    last_sequence_before: int
    where_it_ended_is_certain: bool
    entries_recovered: int
    entries_missing: int
    missing: tuple[Span, ...]
    unproven: tuple[int, ...]
    left_out: tuple[int, ...]
    tables_not_read_whole: tuple[str, ...]
    what_to_do: str


def under_way(db: Connection) -> Rebuild | None:
    """The rebuild that is not finished; None when there is none."""
    text = meta.get(db, _KEY)
    return None if text is None else msgspec.json.decode(text, type=Rebuild)


def put_state(db: Connection, state: Rebuild) -> None:
    """Write down where it stands."""
    meta.put(db, _KEY, msgspec.json.encode(state).decode())


def put_back_rows(db: Connection, rows: Iterable[Sequence[Any]], state: Rebuild) -> int:
    """A piece of entries as rows (``hash`` hexadecimal) with how far that brings it; returns how many came in."""
    before = db.total_changes
    values = [(*row[:HASH_COLUMN], bytes.fromhex(row[HASH_COLUMN])) for row in rows]
    db.executemany(_IGNORING, values)
    came_in = db.total_changes - before
    if came_in:
        note_came_back(db, min(row[0] for row in values), max(row[0] for row in values))
    put_state(db, msgspec.structs.replace(state, recovered=state.recovered + came_in))
    return came_in


def finish(db: Connection, spans: Iterable[Span], begins_at: Anchor | None) -> None:
    """Everything readable is back: what is missing for good is written down, and the rebuild is over.

    ``begins_at``: a beginning found on the way, where nothing had told one.
    """
    causes = dict(db.execute("SELECT from_seq || ':' || upto_seq, cause FROM missing"))
    db.execute("DELETE FROM missing")
    note_missing(db, ((first, last, causes.get(f"{first}:{last}", "damage")) for first, last in spans))
    if begins_at is not None:
        move_anchor(db, begins_at)
    db.execute("DELETE FROM meta WHERE name = ?", (_KEY,))


def note_missing(db: Connection, spans: Iterable[tuple[int, int, str]]) -> None:
    """Spans (first, last, cause) that this file should hold and does not."""
    db.executemany("INSERT OR REPLACE INTO missing (from_seq, upto_seq, cause) VALUES (?, ?, ?)", spans)


def report(
    state: Rebuild,
    *,
    missing: Sequence[Span],
    unproven: Sequence[int] = (),
    left_out: Sequence[int] = (),
    finished_at: str | None,
) -> Report:
    """The report as of now."""
    return Report(
        what_was_found=state.reason,
        found_at=state.found_at,
        finished_at=finished_at,
        set_aside_as=state.files[0] if state.files else None,
        old_journal_id=state.parent,
        new_journal_id=state.journal_id,
        last_sequence_before=state.base,
        where_it_ended_is_certain=state.base_is_certain,
        entries_recovered=state.recovered,
        entries_missing=sum(last - first + 1 for first, last in missing),
        missing=tuple(missing),
        unproven=tuple(unproven),
        left_out=tuple(left_out),
        tables_not_read_whole=state.tables,
        what_to_do=(
            "wait: the entries are still being read from the set-aside file"
            if finished_at is None
            else "nothing is missing; keep the set-aside file until the next verified backup"
            if not missing
            else "delete nothing; fill the missing sequences from a backup: pos-agent restore --fill --from FOLDER"
        ),
    )
