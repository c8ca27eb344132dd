"""Which entries were stored when, by their own times, however the clock was set in between. Plain SQL on a connection.

There is no index on time: it would cost every record. Times grow with sequences but where the clock was set back;
those places are written down as they happen (table ``clock_steps``), and between two of them a time is found by
halving. A leap ahead of more than 31 days is written down, too: it may be a wrong clock as well as a long rest, so
`last_passed`, which decides what is old enough to leave, counts it as 31 days.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.store.sqlite import Connection

LEAP_MS: Final = 31 * 86_400_000


class Stretch(NamedTuple):
    """Entries ``first`` to ``last``, both there, along which times only grow."""

    first: int
    last: int


def is_step(before_ms: int, at_ms: int) -> bool:
    """Does a new stretch begin with an entry stored at ``at_ms``, after one stored at ``before_ms``?"""
    return at_ms < before_ms or at_ms > before_ms + LEAP_MS


def note_step(db: Connection, sequence: int) -> None:
    """A new stretch begins here; a job for the writer, in the commit that stores the entry."""
    db.execute("INSERT OR IGNORE INTO clock_steps (sequence) VALUES (?)", (sequence,))


def note_steps(db: Connection, first: int, last: int) -> None:
    """Judge the entries from ``first`` to ``last`` and the one after them anew: some of them came in just now."""
    found = db.execute("SELECT min(sequence) FROM entries WHERE sequence > ?", (last,)).fetchone()[0]
    last = last if found is None else int(found)
    db.execute("DELETE FROM clock_steps WHERE sequence >= ? AND sequence <= ?", (first, last))
    db.execute(
        """
        INSERT INTO clock_steps (sequence)
        SELECT sequence FROM (
            SELECT sequence, at, (SELECT at FROM entries AS earlier WHERE earlier.sequence < entry.sequence
                                   ORDER BY sequence DESC LIMIT 1) AS before
              FROM entries AS entry WHERE sequence >= ? AND sequence <= ?)
         WHERE at < before OR at > before + ?""",
        (first, last, LEAP_MS),
    )


def stretches(db: Connection) -> Iterator[Stretch]:
    """All of them, the newest first."""
    last = _at_or_before(db, 2**62)
    steps = db.execute("SELECT sequence FROM clock_steps ORDER BY sequence DESC").fetchall()
    for (first,) in steps:
        if last is not None and first <= last:
            yield Stretch(first, last)
            last = _at_or_before(db, first - 1)
    if last is not None:
        first = db.execute("SELECT min(sequence) FROM entries").fetchone()[0]
        yield Stretch(first, last)


def span(db: Connection, from_ms: int | None, to_ms: int | None) -> tuple[int, int]:
    """First and last sequence between which all entries stored from ``from_ms`` on and before ``to_ms`` are.

    There may be some of other times among them. The last is before the first when there are none.
    """
    lowest, highest = 2**62, 0
    for one in stretches(db):
        first = one.first if from_ms is None else _last_before(db, one, from_ms) + 1
        last = one.last if to_ms is None else _last_before(db, one, to_ms)
        if first <= last:
            lowest, highest = min(lowest, first), max(highest, last)
    return lowest, highest


def last_stored_before(db: Connection, at_ms: int) -> int:
    """The last sequence up to which everything was stored before a time; 0: not even the first one."""
    upto = 0
    for one in reversed(list(stretches(db))):
        upto = _last_before(db, one, at_ms)
        if upto < one.last:
            return upto if upto >= one.first else _at_or_before(db, one.first - 1) or 0
    return upto


def last_passed(db: Connection, keep_ms: int) -> int:
    """The last entry since which ``keep_ms`` have passed by the times of entries alone; 0: none.

    Counted back from the newest entry. What the clock says now has no part in it: no jump of it makes an entry old.
    A leap that ends a stretch of a clock set back counts nothing: without a battery it comes with every power-on.
    """
    passed_ms = 0
    after: Stretch | None = None
    for one in stretches(db):
        last_ms = _time(db, one.last)
        if after is not None:
            leap_ms = _time(db, after.first) - last_ms
            if leap_ms <= LEAP_MS or not _was_set_back(db, one.first):
                passed_ms += min(max(leap_ms, 0), LEAP_MS)
        found = _last_before(db, one, last_ms - (keep_ms - passed_ms) + 1)
        if found >= one.first:
            return found
        passed_ms += last_ms - _time(db, one.first)
        after = one
    return 0


def _was_set_back(db: Connection, first: int) -> bool:
    """Does a stretch begin earlier than the entry before it was stored?"""
    before = _at_or_before(db, first - 1)
    return before is not None and _time(db, before) > _time(db, first)


def _last_before(db: Connection, stretch: Stretch, at_ms: int) -> int:
    """The last sequence of a stretch stored before a time; ``first - 1`` when none was."""
    low, high = stretch.first - 1, stretch.last
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _time(db, middle) < at_ms else (low, middle - 1)
    return low


def _time(db: Connection, sequence: int) -> int:
    """When an entry was stored, in milliseconds since 1970 UTC; of the next one, where that one is missing."""
    return int(
        db.execute("SELECT at FROM entries WHERE sequence >= ? ORDER BY sequence LIMIT 1", (sequence,)).fetchone()[0]
    )


def _at_or_before(db: Connection, sequence: int) -> int | None:
    row = db.execute("SELECT max(sequence) FROM entries WHERE sequence <= ?", (sequence,)).fetchone()
    return None if row[0] is None else int(row[0])
