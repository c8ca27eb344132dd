"""Sends a journal to the collector in order, and takes the collector's word for how far it has come.

Entries are read from the journal itself and never wait in the outbox; messages go at QoS 1, not retained, and a PUBACK
marks nothing. What waits in the outbox goes first, and of our messages few wait for PUBACK at a time, so that nothing
else queues behind a backlog. The mark of what is delivered is stored at most once in ``GATHER_S``. A second journal is
a second `Upload` with another `Stream`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog
from msgspec import Struct

from agent.contract.journal_upload import CollectorAck
from agent.contract.publication import SOFT_LIMIT_BYTES
from agent.contract.topics import Address
from agent.errors import PublishRefused, StoreDamaged, StoreFull, StoreUnavailable
from agent.runtime.clock import Clock
from agent.runtime.services import Pulse
from agent.store.upload_rows import ENTRIES_LIMIT, Held, Piece, Standing
from agent.trust.collector_acks import AckRefused
from agent.uplink.ack_rules import Agreed, Disputed, Passed, asked_again, judge
from agent.uplink.link import FAILURE, Link
from agent.uplink.upload_window import NEVER, UploadWindow
from agent.workflow.wake_up import wait_for

log = structlog.get_logger("uplink")
T = TypeVar("T")

GATHER_S: Final = 1.0
NO_SUBSCRIBERS: Final = 0x10
MAX_WITHOUT_PUBACK: Final = 2
MAX_ACKS: Final = 64  # of a flood of authentic ones the rest is passed over: the collector says it again
_HEADER_BYTES: Final = 64
_STORE_S: Final = 30.0
_STORE_RETRY_S: Final = 10.0


class Stream(Struct, frozen=True):
    """One journal: where its entries are read and its mark is kept.

    Attributes:
        below: Its topic.
        standing: Which journal it is, and the mark.
        piece: The next entries after a sequence, at most so many bytes; without payload when there are none.
        held: What acknowledgements are held against.
        deliver: Store the mark; false when it is another journal by now.
    """

    below: str
    standing: Callable[[], Awaitable[Standing]]
    piece: Callable[[int, int], Awaitable[Piece]]
    held: Callable[[list[tuple[int, int | None]]], Awaitable[list[Held]]]
    deliver: Callable[[str, int], Awaitable[bool]]


class Rate:
    """At most ``per_s`` a second on average; at once no more than a tenth of a second's worth, or one message."""

    def __init__(self, per_s: float, clock: Clock) -> None:
        self._per_s, self._clock = per_s, clock
        self._most = self._credit = max(per_s / 10, ENTRIES_LIMIT)
        self._at_s = clock.monotonic()

    def wait_s(self) -> float:
        """Until something may be spent; 0: now."""
        now_s = self._clock.monotonic()
        self._credit = min(self._most, self._credit + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        return 0.0 if self._credit > 0 else (1e-3 - self._credit) / self._per_s

    def spend(self, count: int) -> None:
        """May leave a debt: messages are whole."""
        self._credit -= count


class Upload:
    """One for the life of the process; `drain` runs once per link.

    Args:
        believe: ``(payload, retained)`` → an authentic acknowledgement, or `AckRefused`.
        refuse: Told the cause of each that is not.
        dispute: ``(active, detail)``: the two chains do not agree, or do again.
        outbox_first: Returns when nothing of the outbox waits to be sent.
        on_journal: Called when the journal here has become another one.
    """

    def __init__(
        self,
        stream: Stream,
        address: Address,
        clock: Clock,
        pulse: Pulse,
        *,
        entries_per_s: float,
        believe: Callable[[bytes, bool], CollectorAck],
        refuse: Callable[[str], None],
        dispute: Callable[[bool, str], None],
        outbox_first: Callable[[], Awaitable[object]],
        on_journal: Callable[[], Awaitable[object]],
    ) -> None:
        self._stream = stream
        self._topic = address.topic(stream.below)
        self._clock, self._pulse = clock, pulse
        self._rate = Rate(entries_per_s, clock)
        self._believe, self._refuse, self._dispute = believe, refuse, dispute
        self._outbox_first, self._on_journal = outbox_first, on_journal
        self._news = asyncio.Event()
        self._acks: deque[CollectorAck] = deque()
        self._journal_id: str | None = None
        self._is_known = False  # whose journal it is, and its mark; not any more when another one was begun meanwhile
        self._window = UploadWindow(0)
        self._without_puback = 0
        self._stored = 0  # the mark as it stands in the store
        self._store_at_s = 0.0
        self._passed: CollectorAck | None = None
        self._disputed = ""
        self._disputed_at: float | None = 0  # None: told that all is well; a fault may have outlived the last process

    def wake(self) -> None:
        """Something was committed to the journal."""
        self._news.set()

    def take(self, payload: bytes, retained: bool) -> None:
        """Take a message from the topic of acknowledgements; what it means is found out in `drain`."""
        try:
            ack = self._believe(payload, retained)
        except AckRefused as err:
            self._refuse(err.cause)
            return
        if len(self._acks) < MAX_ACKS:
            self._acks.append(ack)
        self._news.set()

    async def drain(self, link: Link) -> None:
        """Send what the collector has not got, until the link is lost.

        Raises:
            LinkDown: It was lost.
        """
        self._window.begin_again()
        self._without_puback = 0
        try:
            while True:
                self._news.clear()  # before looking, so that what comes meanwhile is seen
                try:
                    wait_s = await self._step(link)
                except (StoreFull, StoreUnavailable, StoreDamaged) as err:
                    log.warning("upload.unreadable", below=self._stream.below, code=err.code, retry_s=_STORE_RETRY_S)
                    await self._clock.sleep(_STORE_RETRY_S)
                    continue
                if wait_s > 0:
                    await wait_for(self._news, self._clock, None if wait_s == NEVER else wait_s)
        finally:
            with contextlib.suppress(StoreFull, StoreUnavailable):  # then the collector says it again
                await self._store_mark()
            self._pulse.resting()

    async def _step(self, link: Link) -> float:
        """Do one thing that is due; after how many seconds to look again if nothing comes."""
        if not self._is_known:
            await self._begin()
        if self._acks and not await self._take_acks():
            return 0.0
        now_s = self._clock.monotonic()
        if self._window.look(now_s) and self._window.probes == 1:
            log.warning("upload.unanswered", below=self._stream.below, after=self._window.acknowledged)
        store_s = self._store_at_s - now_s if self._stored != self._window.acknowledged else NEVER
        if store_s <= 0:
            await self._try_to_store_mark()
            return 0.0
        rest_s = min(self._window.due_s(now_s) - now_s, store_s)
        if self._without_puback >= MAX_WITHOUT_PUBACK or not self._window.may_send(now_s):
            return rest_s
        if (wait_s := self._rate.wait_s()) > 0:
            return min(wait_s, rest_s)
        await self._outbox_first()
        max_bytes = min(SOFT_LIMIT_BYTES, link.limits.maximum_packet_bytes - len(self._topic) - _HEADER_BYTES)
        if self._window.probes > 1:
            max_bytes = 0  # one entry
        piece = await self._from_store(self._stream.piece(self._window.sent, max_bytes))
        if piece.journal_id != self._journal_id:
            self._is_known = False
        elif not piece.payload:
            return rest_s
        elif not self._acks:  # what has been asked for meanwhile may be something else
            await self._send(link, piece)
        return 0.0

    async def _begin(self) -> None:
        standing = await self._from_store(self._stream.standing())
        before, self._journal_id, self._is_known = self._journal_id, standing.journal_id, True
        self._stored = standing.delivered
        self._window = UploadWindow(standing.delivered)
        if before not in (None, standing.journal_id):
            log.info("upload.other_journal", below=self._stream.below, journal_id=standing.journal_id)
            await self._on_journal()

    async def _send(self, link: Link, piece: Piece) -> None:
        """At QoS 1 and not retained. PUBACK only says that the broker has it, and room for another."""
        self._window.send(piece.upto_seq, self._clock.monotonic())
        self._rate.spend(piece.upto_seq - piece.from_seq + 1)
        try:
            acknowledged = await link.send(self._topic, piece.payload)
        except PublishRefused as err:
            self._on_refused(piece, int(err.facts["reason_code"] or FAILURE))
            return
        self._without_puback += 1
        acknowledged.add_done_callback(functools.partial(self._on_answer, piece))

    def _on_answer(self, piece: Piece, answered: asyncio.Future[int | None]) -> None:
        reason = answered.result()
        if reason is None:
            return  # the link is lost, and everything is sent again on the next one
        self._without_puback -= 1
        if reason >= FAILURE or reason == NO_SUBSCRIBERS:
            self._on_refused(piece, reason)
        self._news.set()

    def _on_refused(self, piece: Piece, reason: int) -> None:
        if piece.upto_seq > self._window.acknowledged:
            if not self._window.probes:
                log.warning("upload.refused", below=self._stream.below, reason_code=f"0x{reason:02X}")
            self._window.hold(self._clock.monotonic())

    async def _take_acks(self) -> bool:
        """Hold what has come against the journal; false when that is another one by now."""
        asked = [(ack.upto_seq, asked_again(ack)) for ack in self._acks]
        for held in await self._from_store(self._stream.held(asked)):
            if held.journal_id != self._journal_id:
                self._acks.clear()
                self._is_known = False
                return False
            self._obey(self._acks.popleft(), held)
        return True

    def _obey(self, ack: CollectorAck, held: Held) -> None:
        window, now_s = self._window, self._clock.monotonic()
        match judge(ack, held, window.acknowledged):
            case Passed(why) if ack != self._passed:  # said once, however often it is repeated
                self._passed = ack
                log.info("ack.passed", below=self._stream.below, why=why, upto_seq=ack.upto_seq)
            case Disputed(at, detail):
                self._raise(at, detail)
            case Agreed(delivered, send_from, gone):
                if self._stored == window.acknowledged != delivered:
                    self._store_at_s = now_s + GATHER_S
                if delivered > window.acknowledged and self._disputed_at is not None and delivered >= self._disputed_at:
                    self._dispute(False, f"both sides agree up to sequence {delivered}")
                    self._disputed_at, self._disputed = None, ""
                window.acknowledge(delivered, now_s)
                if send_from is not None and window.send_again(send_from, now_s):
                    log.warning("upload.asked_again", below=self._stream.below, seq=send_from, delivered=delivered)
                if gone is not None:
                    # No later agreement makes that good: it stands as long as this process lives.
                    self._raise(
                        NEVER, f"the collector lacks sequences {gone[0]} to {gone[1]}, which are gone here, too"
                    )

    def _raise(self, at: float, detail: str) -> None:
        if detail == self._disputed:
            return
        log.error("upload.disputed", below=self._stream.below, detail=detail)
        self._disputed_at, self._disputed = max(at, self._disputed_at or 0), detail
        self._dispute(True, detail)

    async def _try_to_store_mark(self) -> None:
        """A full disk must not keep entries from leaving: the collector's copy may be what makes room."""
        try:
            await self._store_mark()
        except (StoreFull, StoreUnavailable) as err:
            self._store_at_s = self._clock.monotonic() + _STORE_RETRY_S
            log.warning("upload.mark_not_stored", below=self._stream.below, code=err.code, retry_s=_STORE_RETRY_S)

    async def _store_mark(self) -> None:
        """One commit for everything acknowledged meanwhile."""
        mark = self._window.acknowledged
        if not self._is_known or self._journal_id is None or mark == self._stored:
            return
        if await self._from_store(self._stream.deliver(self._journal_id, mark)):
            self._stored = mark
        else:
            self._is_known = False

    async def _from_store(self, work: Awaitable[T]) -> T:
        self._pulse.working(_STORE_S)
        try:
            return await work
        finally:
            self._pulse.resting()
