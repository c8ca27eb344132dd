"""The collector at work on one link: receive, commit, only then acknowledge and sign. Everything else is elsewhere.

While one group is committed (in a thread of its own) the next one gathers, so the more comes in the fewer commits an
entry costs. PUBACK goes out after the commit: what a collector took with it when it died comes again, to it or to
another one. Of signed acknowledgements only the latest of each journal waits, and it waits for the broker's PUBACK.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from agent.contract import topics
from agent.errors import PublishRefused, StoreFull, StoreUnavailable
from agent.fleet.collector import rules
from agent.fleet.collector.acks import Signer
from agent.fleet.collector.ledger import Ledger, Message, Posted
from agent.fleet.collector.parts import KIND_OF, source_of
from agent.fleet.collector.posting import Happened
from agent.uplink.broker import Received
from agent.uplink.link import FAILURE, Link

T = TypeVar("T")
RECEIVE_MAXIMUM: Final = 512
"""Messages without our PUBACK: as many as one commit can hold."""
MAX_INBOX: Final = 4 * RECEIVE_MAXIMUM
MAX_INBOX_BYTES: Final = 32 * 1024 * 1024
"""A Receive Maximum does not count QoS 0, and 3.1.1 has none: beyond these the link is not read till a commit is."""
WINDOW: Final = 64
"""Acknowledgements on their way without the broker's PUBACK."""
ACK_EXPIRY_S: Final = 600
"""A terminal that was away sends again from its last one: old ones need no place in its queue beside its orders."""
_GATHER_S: Final = 0.02
_ENOUGH: Final = 128  # messages that need not wait for more
_RETRY_S: Final = 1.0
_AckKey = tuple[str, str]
"""Topic Name and journal_id."""


class Counts:
    """What was done so far."""

    def __init__(self) -> None:
        self.messages = self.held = self.commits = self.acks = 0


class Collector:
    """Made once; `run` for each link.

    Args:
        tell: Gets what a person should know; ``trouble``: why the store is waited for.
    """

    def __init__(
        self,
        ledger: Ledger,
        signer: Signer,
        *,
        tell: Callable[[Happened], None],
        trouble: Callable[[str], None],
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.counts = Counts()
        self._ledger, self._signer = ledger, signer
        self._tell, self._trouble, self._now_ms = tell, trouble, now_ms
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._work: asyncio.Future[Any] | None = None
        self._inbox: list[Received] = []
        self._inbox_bytes = 0
        self._came = asyncio.Event()
        self._room = asyncio.Event()
        self._acks: dict[_AckKey, bytes] = {}  # the latest of each journal
        self._ack_came = asyncio.Event()

    async def run(self, link: Link, subscribe: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
        """Work until ``stop``, or until the link is lost.

        Args:
            subscribe: Is awaited while messages are taken already: retained ones come before the last SUBACK, and a
                link that nobody reads from does not read.

        Raises:
            LinkDown: Open a new link and call again; acknowledgements that did not arrive go out there.
            NeedsPerson: The store cannot be used.
        """
        self._inbox.clear()  # of an earlier link: the broker sends them again
        self._inbox_bytes = 0
        self._came.clear()
        self._ack_came.set()
        tasks = [
            asyncio.create_task(one, name=name)
            for name, one in {
                "subscribe": subscribe,
                "receive": self._receive(link),
                "post": self._post(link),
                "publish": self._publish(link),
                "ask": self._ask(),
                "stop": stop.wait(),
            }.items()
        ]
        try:
            done, _others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if done == {tasks[0]} and tasks[0].exception() is None:
                await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            if self._work is not None:
                await asyncio.wait([self._work])
        if not stop.is_set():
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    raise outcome

    def close(self) -> None:
        """End the thread; nothing runs in it any more."""
        self._thread.shutdown()

    async def _receive(self, link: Link) -> None:
        while True:
            received = await link.receive()
            self._inbox.append(received)
            self._inbox_bytes += len(received.payload)
            self._came.set()
            while len(self._inbox) >= MAX_INBOX or self._inbox_bytes >= MAX_INBOX_BYTES:
                self._room.clear()
                await self._room.wait()

    async def _post(self, link: Link) -> None:
        while True:
            await self._came.wait()
            if len(self._inbox) < _ENOUGH:
                await asyncio.sleep(_GATHER_S)
            group, self._inbox = self._inbox[:RECEIVE_MAXIMUM], self._inbox[RECEIVE_MAXIMUM:]
            self._inbox_bytes -= sum(len(one.payload) for one in group)
            if not self._inbox:
                self._came.clear()
            self._room.set()
            messages = [message for one in group if (message := _message(one)) is not None]
            if messages:
                await self._commit(lambda messages=messages: self._ledger.post(messages, self._now_ms()))  # type: ignore[misc]
            self.counts.messages += len(messages)
            for one in group:
                link.acknowledge(one)

    async def _ask(self) -> None:
        """Ask for what is missing: this collector's own messages need not be the ones that came too early."""
        while True:
            await asyncio.sleep(rules.ASK_AFTER_MS / 1000)
            now_ms = self._now_ms()
            await self._commit(lambda now_ms=now_ms: self._ledger.ask(now_ms, now_ms - rules.ASK_AFTER_MS))  # type: ignore[misc]

    async def _commit(self, work: Callable[[], Posted]) -> None:
        """Do it in the store's thread, again and again while the store is away; then hand out what it answered."""

        def commit_and_sign() -> tuple[Posted, dict[_AckKey, bytes]]:
            posted = work()
            acks = {}
            for told in posted.told:
                topic, payload = self._signer.sign(told)
                acks[topic, told.journal_id] = payload
            return posted, acks

        done: tuple[Posted, dict[_AckKey, bytes]] | None = None
        while done is None:
            try:
                done = await self._in_thread(commit_and_sign)
            except (StoreUnavailable, StoreFull) as err:
                self._trouble(err.message)
                await asyncio.sleep(_RETRY_S)
        posted, acks = done
        self.counts.commits += 1
        self.counts.held += posted.held
        self._acks.update(acks)
        if acks:
            self._ack_came.set()
        for one in posted.happened:
            self._tell(one)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        self._work = future
        return await asyncio.shield(future)

    async def _publish(self, link: Link) -> None:
        while True:
            await self._ack_came.wait()
            self._ack_came.clear()
            waiting, self._acks = self._acks, {}
            try:
                while waiting:
                    key, payload = next(iter(waiting.items()))
                    await self._send(link, key, payload)
                    del waiting[key]
            finally:
                self._acks = {**waiting, **self._acks}

    async def _send(self, link: Link, key: _AckKey, payload: bytes) -> None:
        try:
            sent = await link.send(key[0], payload, message_expiry_s=ACK_EXPIRY_S)
        except PublishRefused as err:
            self._refused(key[0], err.message)
            return
        sent.add_done_callback(lambda done: self._sent(done, key, payload))

    def _sent(self, done: asyncio.Future[int | None], key: _AckKey, payload: bytes) -> None:
        reason = None if done.cancelled() else done.result()
        if reason is None:
            self._acks.setdefault(key, payload)  # for the next link, unless there is a newer one
        elif reason >= FAILURE:
            self._refused(key[0], f"Reason Code 0x{reason:02X}")
        else:
            self.counts.acks += 1

    def _refused(self, topic: str, why: str) -> None:
        self._trouble(f"the broker does not take {topic} ({why}): its access list must let the collector write it")


def filters(site: str, share: str | None) -> tuple[list[str], list[str]]:
    """Topic Filters of what every collector reads itself, and of what those of one group divide."""
    every = topics.Address(site, "+")
    prefix = "" if share is None else f"$share/{share}/"
    return [every.topic(topics.BIRTH)], [f"{prefix}{every.topic(below)}" for below in KIND_OF]


def _message(received: Received) -> Message | None:
    found = source_of(received.topic)
    if found is None:
        return None
    source, below = found
    if below == topics.BIRTH:
        return Message(source, None, received.payload) if received.payload else None
    kind = KIND_OF.get(below)
    return None if kind is None else Message(source, kind, received.payload)
