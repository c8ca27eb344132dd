"""The terminal's MQTT session: connect, subscribe, tell the own truth, then send what waits and take what comes.

Every attempt is a fresh `Link`. A request is acknowledged (PUBACK) only after ``receive`` returned for it, on the link
that it came by. What a request means is the inbox's business, what is true is the caller's; this file moves bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final

import structlog
from msgspec import Struct

from agent.contract import topics
from agent.contract.publication import HARD_LIMIT_BYTES, Publication
from agent.errors import LinkDown, NeedsPerson, PublishRefused
from agent.runtime.backoff import Backoff
from agent.runtime.clock import Clock, rfc3339
from agent.runtime.services import Pulse, in_own_task
from agent.uplink import messages
from agent.uplink.broker import Broker, Subscription, Will
from agent.uplink.connection import check_library
from agent.uplink.gauges import Gauges
from agent.uplink.inbound import Inbound
from agent.uplink.link import FAILURE, Link
from agent.uplink.messages import Identity
from agent.uplink.publisher import Publisher
from agent.uplink.upload import Upload

log = structlog.get_logger("uplink")

STEADY_S: Final = 60.0
_GOODBYE_S: Final = 2.0
_OPENING_S: Final = 30.0  # beyond the broker's own time limit


class LinkState(Struct, frozen=True):
    """For the socket and the log. ``since`` is when ``connected`` last changed; None before the first attempt ended."""

    connected: bool
    since: datetime | None
    detail: str
    conn: int


class Session:
    """A service that the agent can live without; `run` until cancelled.

    Args:
        present: The same identity as of now, asked at every connection: its journal may be continued by another one.
        start_counter: How often the agent started within this journal, this time included.
        truth: What holds now, read from the database: published on every connection, before anything that waits.
        on_link: Told each change: connected or not, and why.
        backoff: Between attempts; starts again only after ``steady_s`` of good link.
    """

    name = "uplink"

    def __init__(
        self,
        broker: Broker,
        address: topics.Address,
        identity: Identity,
        *,
        start_counter: int,
        inbound: Inbound,
        truth: Callable[[], Awaitable[Sequence[Publication]]],
        publisher: Publisher,
        gauges: Gauges,
        on_link: Callable[[bool, str], None],
        clock: Clock,
        backoff: Backoff,
        pulse: Pulse,
        uploads: Sequence[Upload] = (),
        present: Callable[[Identity], Awaitable[Identity]] | None = None,
        steady_s: float = STEADY_S,
    ) -> None:
        self._broker, self._address, self._identity = broker, address, identity
        self._present = present
        self._start_counter = start_counter
        self._inbound = inbound
        self._truth = truth
        self._publisher = publisher
        self._gauges = gauges
        self._uploads = uploads
        self._on_link = on_link
        self._clock = clock
        self._backoff = backoff
        self._pulse = pulse
        self._steady_s = steady_s
        self._attempt = 0
        self._wake = asyncio.Event()
        self._late_will = asyncio.Event()
        self._serving: Link | None = None
        self.state = LinkState(False, None, "not connected yet", 0)

    def wake(self) -> None:
        """Try again now: the network has changed."""
        self._wake.set()

    async def announce_again(self) -> bool:
        """Publish birth and the own truth once more; False when there is no link to do it on.

        Without one nothing is lost: every new connection begins with it.
        """
        link = self._serving
        if link is None:
            return False
        down = False
        try:
            await in_own_task(self._announce(link))
        except* LinkDown:
            down = True
        return not down

    async def run(self) -> None:
        """Keep a link up. On cancellation say ``online: false``, disconnect, and end.

        Raises:
            NeedsPerson: The installed MQTT library cannot hold a PUBACK back; nothing was connected.
        """
        try:
            check_library()
        except NeedsPerson as err:
            log.error("uplink.library_unfit", detail=err.message, hint=err.hint)
            raise
        try:
            while True:
                await self._one_link()
                wait_s = self._backoff.next_s()
                log.info("uplink.waits", retry_s=round(wait_s, 1))
                await self._rest(wait_s)
        finally:
            self._pulse.resting()
            await self._inbound.stop()

    @property
    def _conn(self) -> int:
        return messages.connection_number(self._start_counter, self._attempt)

    async def _one_link(self) -> None:
        self._attempt += 1
        self._wake.clear()
        await self._refresh_identity()
        will = self._status(online=False)
        link = Link(self._broker, self._address.terminal, will=Will(self._address.topic(will.below), will.payload))
        up_s: float | None = None
        over = "failed"
        try:
            self._pulse.working(self._broker.connect_timeout_s + _OPENING_S)
            await link.open()
            await self._subscribe(link)
            self._pulse.resting()
            up_s = self._clock.monotonic()
            self._changed(True, f"connected to {self._broker.host}:{self._broker.port}")
            await in_own_task(self._serve(link))  # its failed TaskGroup must not leave a mark on this loop
        except LinkDown as err:
            over = err.message
        except asyncio.CancelledError:
            over = "stopped"
            await self._leave(link)
            raise
        finally:
            self._pulse.resting()
            await link.close(orderly=False)
            self._changed(False, over)
            if up_s is not None and self._clock.monotonic() - up_s >= self._steady_s:
                self._backoff.reset()

    async def _subscribe(self, link: Link) -> None:
        """Success is CONNACK and SUBACK: a terminal that cannot be ordered anything is not connected."""
        own, site, status = await link.subscribe(
            [
                Subscription(self._address.topic(topics.REQUEST_FILTER)),
                Subscription(self._address._replace(terminal=topics.EVERY_TERMINAL).topic(topics.REQUEST_FILTER)),
                Subscription(self._address.topic(topics.STATUS), qos=0, retained=2),  # to see a late Will
            ]
        )
        if own >= FAILURE:
            raise LinkDown(
                f"the broker refuses the subscription to {topics.REQUEST_FILTER} (0x{own:02X}): check its ACL"
            )
        for what, reason in (("site_wide", site), ("own_status", status)):
            if reason >= FAILURE:
                log.warning("uplink.subscription_refused", what=what, reason_code=f"0x{reason:02X}")

    async def _serve(self, link: Link) -> None:
        """Everything that happens on a link, until it is lost."""
        reason: str | None = None
        try:
            async with asyncio.TaskGroup() as group:
                # Taking comes first: while nobody takes, a flood of requests would hold up our own PUBACKs.
                group.create_task(self._inbound.take(link, self._on_own_status), name="uplink-receive")
                group.create_task(self._watch(link), name="uplink-watch")
                group.create_task(self._tell(link), name="uplink-send")
        except* LinkDown as lost:
            reason = _first_message(lost)
        raise LinkDown(reason or "the link is gone")

    async def _watch(self, link: Link) -> None:
        raise LinkDown(await link.wait_lost())

    async def _tell(self, link: Link) -> None:
        self._late_will.clear()
        await self._announce(link)
        self._serving = link
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._publisher.drain(link), name="uplink-drain")
                group.create_task(self._publish_gauges(link), name="uplink-gauges")
                group.create_task(self._correct(link), name="uplink-correct")
                for upload in self._uploads:
                    group.create_task(upload.drain(link), name="uplink-upload")
        finally:
            self._serving = None

    async def _announce(self, link: Link) -> None:
        """The own truth, from the database, never defaults: status first, so that the rest is known to be of now."""
        await self._refresh_identity()
        at = rfc3339(self._clock.now())
        await self._publish(link, self._status(online=True))
        own = [messages.birth(self._identity, self._address, self._conn, at), *await self._truth()]
        async with asyncio.TaskGroup() as group:
            for publication in own:
                group.create_task(self._publish(link, publication))

    async def _refresh_identity(self) -> None:
        if self._present is not None:
            self._identity = await self._present(self._identity)

    async def _publish(self, link: Link, publication: Publication) -> None:
        if len(publication.payload) > HARD_LIMIT_BYTES:
            publication = self._in_its_place(publication)
        try:
            await link.publish(
                self._address.topic(publication.below),
                publication.payload,
                retain=publication.retain,
                message_expiry_s=publication.message_expiry_s,
            )
        except PublishRefused as err:
            log.error("truth.refused", below=publication.below, code=err.code, reason_code=err.facts["reason_code"])

    def _in_its_place(self, publication: Publication) -> Publication:
        """Something that holds now, but in more words than may be sent: an event says so."""
        size_bytes, at = len(publication.payload), rfc3339(self._clock.now())
        log.error("truth.too_large", below=publication.below, size_bytes=size_bytes, limit_bytes=HARD_LIMIT_BYTES)
        return messages.unsendable(
            publication,
            event_id=f"{self._identity.journal_id}-{self._conn}-{publication.below}",
            source=self._address.topic("").rstrip("/"),
            at=at,
        )

    async def _publish_gauges(self, link: Link) -> None:
        while True:
            for group, publication in self._gauges.fresh():
                if link.publish_lossy(self._address.topic(publication.below), publication.payload):
                    self._gauges.published(group)
            await self._clock.sleep(self._gauges.interval_s)

    async def _correct(self, link: Link) -> None:
        """A Will of an earlier link may be published late, over our own status: say again that we are here."""
        while True:
            await self._late_will.wait()
            self._late_will.clear()
            log.info("status.corrected", conn=self._conn)
            await self._publish(link, self._status(online=True))

    def _on_own_status(self, payload: bytes) -> None:
        if messages.says_offline(payload):
            self._late_will.set()

    async def _leave(self, link: Link) -> None:
        """An orderly stop: nobody should have to wait for the Will to learn of it."""
        if link.is_up:
            with contextlib.suppress(LinkDown, TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await self._publish(link, self._status(online=False))
        await link.close(orderly=True)

    def _status(self, *, online: bool) -> Publication:
        return messages.status(self._identity, self._conn, rfc3339(self._clock.now()), online=online)

    def _changed(self, connected: bool, detail: str) -> None:
        if connected or self.state.connected or self.state.since is None:
            self.state = LinkState(connected, self._clock.now(), detail, self._conn)
        else:
            self.state = LinkState(False, self.state.since, detail, self._conn)
        if connected:
            log.info("uplink.connected", conn=self._conn)
        else:
            log.warning("uplink.down", conn=self._conn, detail=detail)
        self._on_link(connected, detail)

    async def _rest(self, wait_s: float) -> None:
        """Wait, or less when woken."""
        tasks = [asyncio.create_task(self._wake.wait()), asyncio.create_task(self._clock.sleep(wait_s))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()


def _first_message(lost: BaseExceptionGroup[LinkDown]) -> str:
    """Of possibly nested groups, the reason that is told."""
    first: BaseException = lost
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first.message if isinstance(first, LinkDown) else "the link is gone"
