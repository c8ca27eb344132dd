"""Do the totals of a settlement agree with the journal? Compared when it is recorded, and when anything comes late.

A difference is a fault of its batch, with both figures, and stands over restarts. It goes when the journal and the
settlement agree: because what was missing has been recorded since, because a later settlement of the batch agrees, or
because the one that differed was itself reversed; and when retention removes the settlement. At most eight batches are
shown so at once, the latest.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import structlog

from agent.contract.batch_totals import Comparison
from agent.errors import StoreFull, StoreUnavailable
from agent.runtime.clock import Clock
from agent.selling.selling import Report
from agent.store import batch_checks, rebuild
from agent.store.batch_checks import Batch, Check
from agent.store.database import Database, Worth
from agent.workflow.wake_up import wait_for

log = structlog.get_logger("selling")

DIFFERS: Final = "TXN-BAT-002"
AGAIN_S: Final = 60.0
"""After the store could not be read or written."""
BETWEEN_LOOKS_S: Final = 1.0
_REST: Final = 10.0
"""Times as long as a look took, it rests: however much comes late, comparing costs little."""
_DETAIL_KEPT: Final = 200
_NOT_OF_A_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")


class SettlementWatch:
    """A service. It sleeps until transactions were recorded."""

    name = "settlements"

    def __init__(
        self, database: Database, clock: Clock, report: Report, *, active: Callable[[], Mapping[str, str]]
    ) -> None:
        """``active``: devices that have this fault, among them those of before a restart, with its details."""
        self._database = database
        self._clock = clock
        self._report = report
        self._active = active
        self._news = asyncio.Event()
        self._looked_upto: int | None = None
        database.after_transactions(self.wake)

    def wake(self) -> None:
        """Something was recorded or removed."""
        self._news.set()

    async def run(self) -> None:
        """Look whenever something was recorded, until cancelled."""
        while True:
            self._news.clear()
            began_s = self._clock.monotonic()
            try:
                await self.look()
            except (StoreFull, StoreUnavailable) as err:
                log.warning("settlements.not_compared", code=err.code)
                self._looked_upto = None  # begin with whatever is not known to have been compared
                await self._clock.sleep(AGAIN_S)
                continue
            took_s = self._clock.monotonic() - began_s
            await wait_for(self._news, self._clock, None)
            await self._clock.sleep(max(BETWEEN_LOOKS_S, _REST * took_s))

    async def look(self) -> None:
        """Compare what is due, and report what differs now.

        Raises:
            StoreFull, StoreUnavailable: What is not compared yet stays due; so does everything while entries come
                back from a damaged file.
        """
        if await self._database.read(rebuild.under_way) is not None:
            raise StoreUnavailable("entries come back from a damaged file", hint="compare when all of them are there")
        if self._looked_upto is None:
            upto = await self._database.read(batch_checks.last_sequence)
            await self._look_at_all()
            self._looked_upto = upto
        while True:
            page = await self._database.read(partial(batch_checks.touched, above=self._looked_upto))
            for batch in page.batches:
                await self._compare(batch)
            if page.upto == self._looked_upto:
                break
            self._looked_upto = page.upto
        await self._tell()

    async def _look_at_all(self) -> None:
        """Batches of which something was recorded that no comparison has seen: before a crash, or by a restore."""
        after: Batch | None = None
        while batches := await self._database.read(partial(batch_checks.settled_batches, after=after)):
            for batch in batches:
                if await self._database.read(partial(batch_checks.is_due, batch=batch)):
                    await self._compare(batch)
            after = batches[-1]

    async def _compare(self, batch: Batch) -> None:
        as_of = await self._database.read(batch_checks.last_sequence)
        known = await self._database.read(partial(batch_checks.check_of, batch=batch))
        standing = await self._database.read(partial(batch_checks.settlements, batch=batch))
        check = Check(0, as_of, None)
        if standing:
            latest = standing[-1]
            check = Check(latest.sequence, as_of, None)
            if known is not None and known.is_partial and known.settlement == latest.sequence:
                check = Check(latest.sequence, as_of, known.difference, is_partial=True)
            else:
                comparison = Comparison(latest, [one for one in standing[:-1] if one.closes])
                above: int | None = 0
                while above is not None:
                    read = partial(batch_checks.transactions, batch=batch, above=above, as_of=as_of)
                    piece = await self._database.read(read)
                    comparison.add(piece.transactions)
                    above = piece.upto
                check = Check(latest.sequence, as_of, comparison.difference())
        await self._database.write(lambda db: batch_checks.keep_check(db, batch, check), worth=Worth.AUDIT)
        if known is None or (known.settlement, known.difference) != (check.settlement, check.difference):
            log.info("batch.compared", batch_no=batch.batch_no, agrees=check.difference is None)

    async def _tell(self) -> None:
        """Report every batch that differs, and that the others do no more."""
        found: dict[str, str] = {}
        for batch, difference in await self._database.read(batch_checks.differing):
            tid = batch.binding.rpartition("/")[2]
            name = _NOT_OF_A_NAME.sub("-", f"batch-{batch.batch_no}-{tid}")
            found.setdefault(name, f"batch {batch.batch_no} of terminal number {tid}, {difference}"[:_DETAIL_KEPT])
        active = self._active()
        for device, detail in active.items():
            if detail != found.get(device):  # other figures are another fault: what is shown is what is so
                self._report(DIFFERS, device, False, "the totals agree, or others differ now")
        for device, detail in found.items():
            self._report(DIFFERS, device, True, detail)
