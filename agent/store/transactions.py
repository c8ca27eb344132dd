"""The transaction journal as the other rooms see it: hand a record over, look at what is there, check the chain.

Append-only. How a record is judged and stored is in ``transaction_append.py``, what reading computes in
``transaction_views.py``, what is listed and summed up in ``transaction_list.py`` and ``transaction_summary.py``.
Retention, backup and the collector come in by their own files.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import structlog

from agent.contract.journal_views import EntryItem, Page, SummaryPage, TransactionView, Verification
from agent.contract.transaction import TransactionRecord
from agent.runtime.clock import Clock
from agent.store import chain, times, transaction_views
from agent.store.anchor import anchor
from agent.store.database import Database, Worth
from agent.store.transaction_append import Appender, Stored, offer
from agent.store.transaction_list import TransactionFilters, entries
from agent.store.transaction_summary import Summing
from agent.store.unsettled import ANY_TIME, unsettled

if TYPE_CHECKING:
    from agent.store.database import Connection

__all__ = ["Stored", "TransactionFilters", "TransactionJournal"]

log = structlog.get_logger("store")

CONFLICT: Final = "TXN-CON-001"
UNKNOWN_BINDING: Final = "SEC-BND-001"
CHAIN_BROKEN: Final = "TXN-JRN-002"
_ENTRIES_PER_READ: Final = 5_000
_LOOK_FOR_S: Final = 1.0


class TransactionJournal:
    """The one journal of this terminal."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        bindings: frozenset[tuple[str, str, str]],
        alarm: Callable[[str, str], None],
        verify: Callable[[], Awaitable[Verification]] | None = None,
    ) -> None:
        """``bindings``: (provider, mid, tid), present and former. ``alarm(code, detail)`` is called on the loop.

        ``verify``: who looks at the whole file, where somebody does (``soundness.py``).
        """
        self._database = database
        self._clock = clock
        self._bindings = bindings
        self._alarm = alarm
        self._verify = verify
        self._loop: asyncio.AbstractEventLoop | None = None
        self._append = Appender(clock, self._conflict_stored).append

    def submit(self, record: TransactionRecord) -> asyncio.Future[Stored]:
        """Enqueue a record before returning; records take effect in the order of calls.

        The future has the record's place once it is durable, or raises:
            TransactionConflict: Stored and marked; ``facts['sequence']``.
            InvalidTransition: Not stored.
            StoreFull, StoreUnavailable: Not stored.
        """
        if record.binding not in self._bindings:
            self._alarm(
                UNKNOWN_BINDING, "a record came with a provider, mid and tid that are no binding of this terminal"
            )
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        future = self._database.submit_item(self._append, offer(record), worth=Worth.TRANSACTION)
        return cast("asyncio.Future[Stored]", future)

    async def get(self, transaction_id: str) -> TransactionView | None:
        """One transaction with its history and copies; None when it is not here."""
        return await self._database.read(lambda db: transaction_views.view(db, transaction_id))

    async def list(self, filters: TransactionFilters, limit: int, cursor: str | None = None) -> Page:
        """Journal entries; ``limit`` is 1 to 1000, ``cursor`` the ``next_cursor`` of the page before.

        Looks through the journal until the page is full or a second is over: then it has fewer items, perhaps none,
        and its ``next_cursor`` goes on from there.

        Raises:
            BadRequest: ``limit`` or ``cursor``.
        """
        items: builtins.list[EntryItem] = []
        until_s = self._clock.monotonic() + _LOOK_FOR_S
        while True:
            page = await self._database.read(partial(entries, filters=filters, limit=limit - len(items), cursor=cursor))
            items += page.items
            cursor = page.next_cursor
            if cursor is None or len(items) >= limit or self._clock.monotonic() > until_s:
                return Page(items, cursor)

    async def summary(self, filters: TransactionFilters, limit: int, cursor: str | None = None) -> SummaryPage:
        """Count and sum per batch, binding, currency and type; raises as `list`."""
        page_under_work = Summing(filters, limit, cursor)
        while (page := await self._database.read(page_under_work.step)) is None:
            pass
        return page

    async def unsettled_batch(self, *, above: int = 0, stored_before_ms: int = ANY_TIME) -> str | None:
        """The number of a batch with money in it that is not settled; None when there is none.

        Args:
            above: Only entries after this sequence.
            stored_before_ms: Only what was stored before, in milliseconds since 1970 UTC.
        """
        look = partial(unsettled, above=above, stored_before_ms=stored_before_ms)
        piece = await self._database.read(partial(look, below=None))
        while piece.batch_no is None and piece.below:
            piece = await self._database.read(partial(look, below=piece.below))
        return piece.batch_no

    async def last_stored_before(self, at_ms: int) -> int:
        """The last sequence up to which everything was stored before a time (milliseconds since 1970 UTC); 0: none."""
        return await self._database.read(lambda db: times.last_stored_before(db, at_ms))

    async def extent(self) -> tuple[int, int]:
        """First and last sequence; both 0 while the journal is empty."""
        return await self._database.read(_extent)

    async def recall_conflict(self, within_s: float) -> None:
        """Alarm the newest contradicting entry, if stored in the last ``within_s``: a crash may have kept it quiet.

        Raises:
            StoreUnavailable: The journal cannot be read now.
        """
        found = await self._database.read(
            lambda db: db.execute(
                "SELECT sequence, at FROM entries INDEXED BY conflicting_entries"
                " WHERE conflict_with IS NOT NULL ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
        )
        if found is not None and self._clock.now().timestamp() - found[1] / 1000 < within_s:
            self._alarm(CONFLICT, _contradicts(found[0]))

    async def verify(self) -> Verification:
        """Recompute the whole chain, in several short reads, as far as the journal reached when it began."""
        if self._verify is not None:
            return await self._verify()
        upto, last_hash = await self._database.read(anchor)
        last = await self._database.read(_last_sequence)
        while upto < last:
            check = await self._database.read(partial(_check, after=upto, hash_=last_hash))
            upto, last_hash = check.upto_sequence, check.hash
            if not check.intact:
                log.error("journal.broken", upto_sequence=upto, missing=len(check.missing))
                self._alarm(CHAIN_BROKEN, f"the journal is not as it was stored after sequence {upto}")
                return Verification(False, upto, list(check.missing))
        return Verification(True, upto, [])

    def _conflict_stored(self, sequence: int) -> None:
        """Called by the writer's thread; the alarm is raised on the loop."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._alarm, CONFLICT, _contradicts(sequence))


def _contradicts(sequence: int) -> str:
    return f"sequence {sequence} contradicts a recorded state of the same transaction"


def _extent(db: Connection) -> tuple[int, int]:
    first, last = db.execute(
        "SELECT (SELECT min(sequence) FROM entries), (SELECT max(sequence) FROM entries)"
    ).fetchone()
    return int(first or 0), int(last or 0)


def _last_sequence(db: Connection) -> int:
    return int(db.execute("SELECT max(sequence) FROM entries").fetchone()[0] or 0)


def _check(db: Connection, after: int, hash_: bytes) -> chain.ChainCheck:
    """The next piece after ``after``, or after the beginning where retention has moved it on meanwhile."""
    begins_after = anchor(db)
    if begins_after.sequence > after:
        after, hash_ = begins_after
    rows = db.execute(
        "SELECT sequence, record, hash FROM entries WHERE sequence > ? ORDER BY sequence LIMIT ?",
        (after, _ENTRIES_PER_READ),
    )
    return chain.verify(
        (chain.Entry(sequence, record.encode(), stored) for sequence, record, stored in rows), after, hash_
    )
