"""Drains the outbox into a link: at most a window of messages unacknowledged, a row gone only after a good PUBACK.

The outbox is the only queue. A lost link leaves every unacknowledged row where it is, so a message may arrive twice and
never not at all. A refused row waits by itself and holds up nobody; one refused again and again is set aside and
tried once an hour. When the broker refuses everything, the whole drain slows down.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from dataclasses import dataclass
from typing import Final

import structlog

from agent.contract.publication import HARD_LIMIT_BYTES, SOFT_LIMIT_BYTES, Publication
from agent.contract.topics import Address
from agent.errors import PublishRefused, Unavailable
from agent.runtime.backoff import Backoff
from agent.runtime.clock import Clock, rfc3339
from agent.runtime.services import Pulse
from agent.store.outbox import Outbox, OutboxRow
from agent.uplink import messages
from agent.uplink.link import FAILURE, Link

log = structlog.get_logger("uplink")

BATCH_ROWS: Final = 32
GATHER_S: Final = 0.1  # one commit forgets all that was acknowledged meanwhile: less flash, nobody else held up
MAX_REFUSALS: Final = 5
_REFUSED_IN_A_ROW: Final = 16
_STORE_S: Final = 30.0


@dataclass
class Counters:
    """Since the start of the process."""

    acknowledged: int = 0
    refused: int = 0
    set_aside: int = 0
    too_large: int = 0
    above_soft_limit: int = 0
    unknown: int = 0  # the link was lost before PUBACK; sent again on the next one


@dataclass
class _Refusal:
    count: int
    due_s: float  # monotonic


class Publisher:
    """One for the life of the process; `drain` runs once per link.

    Args:
        journal_id: Goes into the ids of events that replace what cannot be sent.
        refused_wait_s: Before a refused row is tried again, doubled each time.
        set_aside_s: After ``MAX_REFUSALS``.
    """

    def __init__(
        self,
        outbox: Outbox,
        address: Address,
        clock: Clock,
        pulse: Pulse,
        *,
        journal_id: str,
        refused_wait_s: float = 10.0,
        set_aside_s: float = 3600.0,
    ) -> None:
        self._outbox = outbox
        self._address = address
        self._clock = clock
        self._pulse = pulse
        self._journal_id = journal_id
        self._refused_wait_s, self._set_aside_s = refused_wait_s, set_aside_s
        self.counters = Counters()
        self._news = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._caught_up.set()
        self._acknowledged: list[int] = []  # rows to forget; kept over a lost link and a store that does not answer
        self._to_forget = asyncio.Event()
        self._refusals: dict[int, _Refusal] = {}
        self._refused_in_a_row = 0
        self._slowed = Backoff(refused_wait_s, 300.0)

    def wake(self) -> None:
        """Something was committed to the outbox."""
        self._news.set()

    async def caught_up(self) -> None:
        """Return when nothing waits to be sent, or what waits must wait longer: then others may use the link."""
        await self._caught_up.wait()

    async def drain(self, link: Link) -> None:
        """Send what waits and what comes, until the link is lost.

        Raises:
            LinkDown: It was lost.
        """
        for refusal in self._refusals.values():
            if refusal.due_s == float("inf"):  # was under way on a link that is gone
                refusal.due_s = self._clock.monotonic()
        forgetting = asyncio.create_task(self._forget(), name="uplink-forget")
        try:
            await self._send_all(link)
        finally:
            self._caught_up.set()
            forgetting.cancel()
            await asyncio.wait((forgetting,))
            with contextlib.suppress(Unavailable):  # then they are sent twice, which is allowed
                await self._forget_now()
            self._pulse.resting()

    async def _send_all(self, link: Link) -> None:
        after_id = 0
        while True:
            self._news.clear()  # before looking, so that what is committed meanwhile is seen
            try:
                rows = await self._waiting(after_id, BATCH_ROWS)
                rows = rows or await self._due_again()
            except Unavailable as err:
                log.warning("outbox.unreadable", code=err.code, retry_s=self._refused_wait_s)
                await self._idle(self._refused_wait_s)
                continue
            if not rows:
                await self._idle(self._next_due_s())
                continue
            self._caught_up.clear()
            for row in rows:
                if after_id < row.id and (row.id in self._refusals or row.id in self._acknowledged):
                    after_id = row.id
                    continue
                await self._send(link, row)
                after_id = max(after_id, row.id)
                if self._refused_in_a_row >= _REFUSED_IN_A_ROW:
                    await self._slow_down()

    async def _send(self, link: Link, row: OutboxRow) -> None:
        publication = self._sendable(row)
        try:
            acknowledged = await link.send(
                self._address.topic(publication.below),
                publication.payload,
                retain=publication.retain,
                message_expiry_s=publication.message_expiry_s,
            )
        except PublishRefused as err:
            self._on_refused(row, int(err.facts["reason_code"] or FAILURE))
            return
        acknowledged.add_done_callback(functools.partial(self._on_answer, row))

    def _sendable(self, row: OutboxRow) -> Publication:
        publication = row.publication
        size_bytes = len(publication.payload)
        if size_bytes > HARD_LIMIT_BYTES:
            self.counters.too_large += 1
            log.error("message.too_large", below=publication.below, size_bytes=size_bytes, limit_bytes=HARD_LIMIT_BYTES)
            return messages.unsendable(
                publication,
                event_id=f"{self._journal_id}-{row.id}",
                source=self._address.topic("").rstrip("/"),
                at=rfc3339(row.queued_at),
            )
        if size_bytes > SOFT_LIMIT_BYTES:
            self.counters.above_soft_limit += 1
        return publication

    def _on_answer(self, row: OutboxRow, acknowledged: asyncio.Future[int | None]) -> None:
        reason = acknowledged.result()
        if reason is None:
            self.counters.unknown += 1
        elif reason >= FAILURE:
            self._on_refused(row, reason)
        else:
            self.counters.acknowledged += 1
            if self._refused_in_a_row:
                self._refused_in_a_row = 0
                self._slowed.reset()
            self._refusals.pop(row.id, None)
            self._acknowledged.append(row.id)
            self._to_forget.set()

    def _on_refused(self, row: OutboxRow, reason: int) -> None:
        self.counters.refused += 1
        self._refused_in_a_row += 1
        count = self._refusals[row.id].count + 1 if row.id in self._refusals else 1
        wait_s = self._refused_wait_s * 2 ** (count - 1)
        said = {"below": row.publication.below, "reason_code": f"0x{reason:02X}", "refusals": count}
        if count < MAX_REFUSALS:
            log.warning("message.refused", **said, retry_s=wait_s)
        else:
            wait_s = self._set_aside_s
            if count == MAX_REFUSALS:
                self.counters.set_aside += 1
                log.error("message.set_aside", **said, retry_s=wait_s, hint="check the broker's ACL and limits")
        self._refusals[row.id] = _Refusal(count, self._clock.monotonic() + wait_s)
        self._news.set()  # an idle drain must look at its next due time again

    async def _due_again(self) -> list[OutboxRow]:
        """Rows refused before whose time has come, a batch at most."""
        now_s = self._clock.monotonic()
        due = sorted(identifier for identifier, refusal in self._refusals.items() if refusal.due_s <= now_s)
        rows = []
        for identifier in due[:BATCH_ROWS]:
            found = await self._waiting(identifier - 1, 1)
            if found and found[0].id == identifier:
                self._refusals[identifier].due_s = float("inf")  # under way; the answer says what next
                rows.append(found[0])
            else:
                del self._refusals[identifier]  # replaced or dropped meanwhile
        return rows

    def _next_due_s(self) -> float | None:
        due_s = min((refusal.due_s for refusal in self._refusals.values()), default=float("inf"))
        return None if due_s == float("inf") else max(0.0, due_s - self._clock.monotonic())

    async def _slow_down(self) -> None:
        """Nearly everything is refused: wait before the next row. One success ends it."""
        wait_s = self._slowed.next_s()
        log.warning("publisher.slowed", refused_in_a_row=self._refused_in_a_row, retry_s=round(wait_s, 1))
        self._caught_up.set()
        await self._clock.sleep(wait_s)

    async def _idle(self, at_most_s: float | None) -> None:
        """Wait for news, with no timer where nothing was refused."""
        self._caught_up.set()
        self._pulse.resting()
        if at_most_s is None:
            await self._news.wait()
            return
        tasks = [asyncio.create_task(self._news.wait()), asyncio.create_task(self._clock.sleep(at_most_s))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _waiting(self, after_id: int, limit: int) -> list[OutboxRow]:
        self._pulse.working(_STORE_S)
        try:
            return await self._outbox.waiting(after_id, limit)
        finally:
            self._pulse.resting()

    async def _forget(self) -> None:
        while True:
            await self._to_forget.wait()
            await self._clock.sleep(GATHER_S)
            self._to_forget.clear()
            try:
                await self._forget_now()
            except Unavailable as err:
                log.warning("outbox.unwritable", code=err.code, retry_s=self._refused_wait_s)
                await self._clock.sleep(self._refused_wait_s)
                self._to_forget.set()

    async def _forget_now(self) -> None:
        """One commit for everything acknowledged so far; what the store did not take stays on the list."""
        done = list(self._acknowledged)
        if done:
            await self._outbox.sent(done)
            del self._acknowledged[: len(done)]
