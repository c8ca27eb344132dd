"""Entries that have been kept for long enough leave, from the beginning of the journal on and nowhere else.

An entry may leave once the configured time has passed since it was stored, by the times of entries alone (``times.py``:
no jump of the clock makes an entry old), and once it has a copy: delivered, or in a verified backup. The beginning ends
before the first entry that must stay: one of a transaction whose outcome is unknown or whose reversal is not through,
one of a batch that is not settled, or one where the chain does not hold, because what is damaged is evidence.
Each piece leaves in one commit with the anchor that stands for it, in small paced jobs of the lowest worth.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import Struct

from agent.errors import StoreFull, StoreUnavailable
from agent.runtime.clock import Clock
from agent.store import batch_checks, chain, rebuild, times
from agent.store.anchor import Anchor, anchor, move_anchor
from agent.store.database import Database, Worth
from agent.store.marks import marks
from agent.store.unsettled import IS_UNSETTLED

if TYPE_CHECKING:
    from agent.store.sqlite import Connection

log = structlog.get_logger("store")

DAY_S: Final = 86_400.0
FIRST_AFTER_S: Final = 1800.0
"""After a start: not while everything else begins."""
ROWS_AT_ONCE: Final = 200
_PAUSE_S: Final = 0.2
_REST: Final = 10.0
"""Times as long as a piece took, it rests: others write meanwhile."""
_UNRESOLVED: Final = "('unknown', 'reversing', 'reversal_failed')"


class Beginning(Struct, frozen=True):
    """What may leave next.

    Attributes:
        before: What stands before the first entry now.
        upto: The last entry that may leave, and the chain there; equal to ``before`` when none may.
        held_by: The entry that must stay though it is old and has a copy; 0: none among those looked at.
        why: ``unresolved_or_unsettled`` or ``chain``, where ``held_by`` is not 0.
    """

    before: Anchor
    upto: Anchor
    held_by: int = 0
    why: str = ""


def beginning(db: Connection, keep_ms: int) -> Beginning:
    """Look at the first few entries; none may leave while entries come back from a damaged file."""
    before = anchor(db)
    if rebuild.under_way(db) is not None:
        return Beginning(before, before)
    limit = min(times.last_passed(db, keep_ms), marks(db).protected)
    rows = db.execute(
        "SELECT sequence, record, hash FROM entries WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?",
        (before.sequence, limit, ROWS_AT_ONCE),
    ).fetchall()
    if not rows:
        return Beginning(before, before)
    held = db.execute(
        f"""
        SELECT min(one.sequence) FROM entries AS one
          JOIN entries AS entry ON entry.sequence = (
               SELECT max(sequence) FROM entries WHERE transaction_id = one.transaction_id AND conflict_with IS NULL)
         WHERE one.sequence > ? AND one.sequence <= ?
           AND (entry.state IN {_UNRESOLVED} OR ({IS_UNSETTLED}))""",  # noqa: S608  # words of our own
        (before.sequence, rows[-1][0]),
    ).fetchone()[0]
    upto = before
    for sequence, record, hash_ in rows:
        if sequence == held:
            return Beginning(before, upto, sequence, "unresolved_or_unsettled")
        if not _follows(db, upto, Anchor(sequence, hash_), record):
            return Beginning(before, upto, sequence, "chain")
        upto = Anchor(sequence, hash_)
    return Beginning(before, upto)


def remove(db: Connection, keep_ms: int) -> Beginning:
    """Have the first few entries leave, as far as they may; a job for the writer. A repeat takes the next ones."""
    found = beginning(db, keep_ms)
    if found.upto == found.before:
        return found
    upto = found.upto.sequence
    batches = db.execute(
        "SELECT DISTINCT binding, batch_no FROM entries WHERE sequence <= ? AND batch_no IS NOT NULL", (upto,)
    ).fetchall()
    db.execute("DELETE FROM entries WHERE sequence <= ?", (upto,))
    batch_checks.forget_removed(db, upto, batches)
    db.execute("DELETE FROM clock_steps WHERE sequence <= ?", (upto,))
    db.execute("DELETE FROM missing WHERE upto_seq <= ?", (upto,))
    db.execute("UPDATE missing SET from_seq = ? WHERE from_seq <= ?", (upto + 1, upto))
    move_anchor(db, found.upto)
    return found


def _follows(db: Connection, before: Anchor, entry: Anchor, record: str) -> bool:
    """Does the chain hold here? After sequences that are known to be missing nobody can tell: the entry is taken."""
    if entry.sequence == before.sequence + 1:
        digest = chain.record_digest(record.encode())
        return chain.link(before.hash, entry.sequence, digest) == entry.hash
    known = db.execute(
        "SELECT coalesce(sum(min(upto_seq, ?) - max(from_seq, ?) + 1), 0) FROM missing"
        " WHERE from_seq <= ? AND upto_seq >= ?",
        (entry.sequence - 1, before.sequence + 1, entry.sequence - 1, before.sequence + 1),
    ).fetchone()[0]
    return bool(known == entry.sequence - 1 - before.sequence)


class Retention:
    """A service: once a day, and only when something may leave, it has it leave."""

    name = "retention"

    def __init__(self, database: Database, clock: Clock, *, keep_days: int, on_removed: Callable[[], None]) -> None:
        """``on_removed``: called on the loop after entries have left."""
        self._database = database
        self._clock = clock
        self._keep_ms = keep_days * 86_400_000
        self._on_removed = on_removed

    async def run(self) -> None:
        """Until cancelled."""
        await self._clock.sleep(FIRST_AFTER_S)
        while True:
            try:
                await self.remove_old()
            except (StoreFull, StoreUnavailable) as err:
                log.warning("retention.postponed", code=err.code)
            await self._clock.sleep(DAY_S)

    async def remove_old(self) -> int:
        """Have everything leave that may, in pieces; the number of sequences that have left.

        Raises:
            StoreFull, StoreUnavailable: What has left until now has left.
        """
        found = await self._database.read(partial(beginning, keep_ms=self._keep_ms))
        removed = 0
        while found.upto != found.before:
            began_s = self._clock.monotonic()
            found = await self._database.write(partial(remove, keep_ms=self._keep_ms), worth=Worth.OUTBOX)
            removed += found.upto.sequence - found.before.sequence
            self._on_removed()
            await self._clock.sleep(max(_PAUSE_S, _REST * (self._clock.monotonic() - began_s)))
        if removed:
            log.info("retention.removed", sequences=removed, upto_sequence=found.upto.sequence)
        if found.held_by:
            log.warning("retention.held", sequence=found.held_by, why=found.why)
        return removed
