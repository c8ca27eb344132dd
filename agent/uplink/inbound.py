"""Takes received messages one by one, in order; then PUBACK.

A request goes to the inbox, an acknowledgement of the collector to the upload, anything else to the count.

Nothing may stall the window: what is refused, here or by the inbox, is acknowledged too. Only a store that cannot write
holds a request back, unacknowledged, until it can. Meaning and signatures are the inbox's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

import structlog

from agent.contract import topics
from agent.contract.publication import HARD_LIMIT_BYTES
from agent.errors import AgentError, Unavailable
from agent.runtime.backoff import Backoff
from agent.runtime.clock import Clock
from agent.runtime.services import Pulse
from agent.uplink.broker import Received
from agent.uplink.link import Link

log = structlog.get_logger("uplink")

Kind = Literal["too_large", "unexpected_topic", "not_taken"]
Receive = Callable[[str, bytes, bool, bool], Awaitable[None]]
TakeAck = Callable[[bytes, bool], None]

RECEIVE_S: Final = 30.0
MAX_CRASHES: Final = 3


class Inbound:
    """One for the life of the process; `take` runs once per link.

    Args:
        receive: ``(command, payload, retained, site_wide)``; returns once the request is journaled or refused. It may
            raise `Unavailable` (the request is offered again); it must not wait for anything that is published.
        refuse: Told the kind of each message that never reaches anybody.
        acks: Topic below the terminal's own level → who takes ``(payload, retained)``; at once, without waiting.
    """

    def __init__(
        self,
        address: topics.Address,
        receive: Receive,
        refuse: Callable[[Kind], None],
        clock: Clock,
        pulse: Pulse,
        *,
        acks: Mapping[str, TakeAck] | None = None,
        receive_limit_s: float = RECEIVE_S,
        retry: Backoff | None = None,
    ) -> None:
        self._address = address
        self._status_topic = address.topic(topics.STATUS)
        self._receive = receive
        self._refuse = refuse
        self._acks = {address.topic(below): take for below, take in (acks or {}).items()}
        self._clock = clock
        self._pulse = pulse
        self._receive_limit_s = receive_limit_s
        self._retry = retry or Backoff(1.0, 30.0)
        self._in_hand: asyncio.Task[None] | None = None
        self._crashes: Counter[int] = Counter()
        self.received = 0
        self.refused: Counter[Kind] = Counter()

    async def take(self, link: Link, on_own_status: Callable[[bytes], None]) -> None:
        """Take what comes until the link is lost.

        Raises:
            LinkDown: It was lost. The inbox may still have a request in hand, which the next `take` waits for.
        """
        await self._finish_earlier()
        while True:
            message = await link.receive()
            if message.topic == self._status_topic:
                on_own_status(message.payload)
            else:
                await self._handle(message)
            link.acknowledge(message)

    async def stop(self) -> None:
        """Cancel a request in hand; it was not acknowledged and comes again."""
        if self._in_hand is not None:
            self._in_hand.cancel()
            await asyncio.wait((self._in_hand,))
            self._in_hand = None

    async def _handle(self, message: Received) -> None:
        command, site_wide = self._command(message.topic)
        take_ack = self._acks.get(message.topic)
        if command is None and take_ack is None:
            self._count("unexpected_topic")
        elif len(message.payload) > HARD_LIMIT_BYTES:
            self._count("too_large")
        elif take_ack is not None:
            take_ack(message.payload, message.retained)
        elif self._crashes and self._crashes[hash(message.payload)] >= MAX_CRASHES:
            self._count("not_taken")
        elif command is not None:
            self.received += 1
            await self._hand_over(command, message, site_wide)

    async def _hand_over(self, command: str, message: Received, site_wide: bool) -> None:
        while True:
            self._pulse.working(self._receive_limit_s)
            self._in_hand = asyncio.create_task(
                self._received(command, message, site_wide), name=f"uplink-request-{command}"
            )
            try:
                # A link lost meanwhile does not interrupt the inbox: the request is taken whole or not at all.
                await asyncio.shield(self._in_hand)
                self._in_hand = None
                self._retry.reset()
                return
            except Unavailable as err:
                self._in_hand = None
                wait_s = self._retry.next_s()
                log.warning("request.held_back", code=err.code, retry_s=round(wait_s, 1))
                self._pulse.resting()
                await self._clock.sleep(wait_s)
            except AgentError as err:
                self._in_hand = None
                log.error("request.not_taken", code=err.code)
                self._count("not_taken")
                return
            finally:
                self._pulse.resting()

    async def _received(self, command: str, message: Received, site_wide: bool) -> None:
        """Offer a request to the inbox; one that makes it fail time after time must not keep the uplink down."""
        digest, over = hash(message.payload), False
        try:
            await self._receive(command, message.payload, message.retained, site_wide)
            over = True
        except (AgentError, asyncio.CancelledError):
            over = True
            raise
        finally:
            if not over:
                self._crashes[digest] += 1

    async def _finish_earlier(self) -> None:
        """The inbox takes one request at a time, also over a lost link."""
        task = self._in_hand
        if task is None:
            return
        self._pulse.working(self._receive_limit_s)
        try:
            await asyncio.wait((task,))
        finally:
            self._pulse.resting()
        self._in_hand = None
        if not task.cancelled():
            task.exception()  # whoever waited for it is gone; the broker sends the request again

    def _command(self, topic: str) -> tuple[str | None, bool]:
        incoming = topics.parse_incoming(topic, self._address)
        if incoming is None or not incoming.below.startswith(topics.REQUESTS):
            return None, False
        command = incoming.below.removeprefix(topics.REQUESTS)
        return (command, incoming.site_wide) if command and "/" not in command else (None, False)

    def _count(self, kind: Kind) -> None:
        self.refused[kind] += 1
        self._refuse(kind)
