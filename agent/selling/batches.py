"""A batch with money in it that nobody settles: looked for once an hour, by the journal.

What was found settled is not looked at again in this life of the agent, so that an hour's look reads an hour's entries.
"""

from __future__ import annotations

from typing import Final

import structlog

from agent.errors import StoreUnavailable
from agent.runtime.clock import Clock
from agent.selling.selling import Report
from agent.store.transactions import TransactionJournal

log = structlog.get_logger("selling")

UNSETTLED: Final = "TXN-BAT-001"
OLD_AFTER_S: Final = 24 * 3600.0
EVERY_S: Final = 3600.0
FIRST_AFTER_S: Final = 60.0
"""After a start: the first look reads the whole journal, and not while everything else begins."""


class BatchWatch:
    """A service."""

    name = "batches"

    def __init__(self, journal: TransactionJournal, clock: Clock, report: Report) -> None:
        self._journal = journal
        self._clock = clock
        self._report = report
        self._settled_upto = 0

    async def run(self) -> None:
        """Look until cancelled."""
        await self._clock.sleep(FIRST_AFTER_S)
        while True:
            try:
                await self.look()
            except StoreUnavailable as err:
                log.warning("batches.not_looked_at", code=err.code)
            await self._clock.sleep(EVERY_S)

    async def look(self) -> None:
        """Report whether a batch waits for its settlement for over a day.

        Raises:
            StoreUnavailable: The journal cannot be read now.
        """
        old_ms = round((self._clock.now().timestamp() - OLD_AFTER_S) * 1000)
        upto = await self._journal.last_stored_before(old_ms)
        batch_no = await self._journal.unsettled_batch(above=self._settled_upto, stored_before_ms=old_ms)
        if batch_no is None:
            self._settled_upto = max(self._settled_upto, upto)
            self._report(UNSETTLED, "journal", False, "every batch older than a day is settled")
        else:
            self._report(UNSETTLED, "journal", True, f"batch {batch_no} has waited for its settlement for over a day")
