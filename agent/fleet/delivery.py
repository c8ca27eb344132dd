"""Orders published and seen to their ends, over as many links to the broker as it takes.

An order that may not have arrived is published again, always the very same: after a broken link, and when a terminal
that said nothing comes (back) online, since its broker may have forgotten what waited for it. A terminal takes a known
id for the same order and answers with its recorded state. Orders are never retained.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from agent.contract import topics
from agent.errors import LinkDown
from agent.fleet.broker import Line
from agent.fleet.messages import OperationState, is_online, origin, read_state
from agent.fleet.orders import EVERY_TERMINAL
from agent.fleet.tally import Tally

RETRY_S: Final = 1.0
PATIENCE_S: Final = 60.0
"""How long a broker that went away is waited for where nobody said how long the whole may take."""
_SILENT_S: Final = 10.0  # so long a terminal that says nothing holds its place among those at work
_PUBLISHERS: Final = 8  # as many messages as the link has under way
_FILTERS_AT_ONCE: Final = 50

Connect = Callable[[], AbstractAsyncContextManager[Line]]


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """``envelope`` goes to ``terminal``, where the order is known by ``command_id``."""

    terminal: str
    command_id: str
    envelope: bytes


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Told as it happens."""

    sent: Callable[[SignedOrder], None]
    state: Callable[[str, OperationState], None]
    broken: Callable[[str], None]
    progress: Callable[[], None]


class Delivery:
    """One use. ``follow``: see every order to its end; else it is enough that the broker has them.

    Args:
        at_once: How many terminals may be at work at the same time, where they are followed.
        expired: Nothing is sent any more; what became of the orders can still be learned.
    """

    def __init__(
        self,
        site: str,
        name: str,
        orders: Sequence[SignedOrder],
        tally: Tally,
        listener: Listener,
        *,
        follow: bool,
        at_once: int,
        expired: bool = False,
    ) -> None:
        self._site, self._name = site, name
        self._orders, self._tally, self._listener = orders, tally, listener
        self._follow, self._at_once, self._expired = follow, at_once, expired
        self._by_id = {order.command_id: order for order in orders}
        self._by_terminal = {order.terminal: order for order in orders}
        self._again: asyncio.Queue[SignedOrder] = asyncio.Queue()
        self._sent: set[str] = set()  # ids of orders that the broker has, or is just being given
        self._told: set[str] = set()
        self._working: dict[str, float] = {}  # terminal → when its order was sent
        self._moved = asyncio.Event()

    async def run(self, connect: Connect) -> None:
        """Until everything is sent, and with ``follow`` at its end: then the caller sets the time limit.

        Raises:
            LinkDown: The broker cannot be reached, or went away for longer than is waited for.
            Refused: It does not let this operator read or write.
        """
        loop = asyncio.get_running_loop()
        lost_s: float | None = None
        while True:
            try:
                async with connect() as link:
                    lost_s = None
                    await self._over(link)
                    return
            except LinkDown as err:
                now_s = loop.time()
                first_try = lost_s is None and not self._told and not err.facts.get("was_open")
                lost_s = lost_s or now_s
                if first_try or (not self._follow and now_s - lost_s > PATIENCE_S):
                    raise
                self._listener.broken(err.message)
            await asyncio.sleep(RETRY_S)

    async def _over(self, link: Line) -> None:
        try:
            if self._follow:
                await self._subscribe(link)
                self._unsend_silent()
                self._again = asyncio.Queue()
                await _until_first(self._receive(link), self._send_and_again(link))
            else:
                await self._send(link)
        except LinkDown as err:
            err.facts["was_open"] = True
            raise

    def _unsend_silent(self) -> None:
        """After a broken link: whoever said nothing may never have got it; the broker may have lost it, too."""
        self._sent = {order.command_id for order in self._orders if self._tally.heard(order.terminal)} & self._sent
        self._working = {name: sent_s for name, sent_s in self._working.items() if self._tally.heard(name)}

    async def _subscribe(self, link: Line) -> None:
        filters, statuses = [], []
        for order in self._orders:
            everyone = order.terminal == EVERY_TERMINAL
            address = topics.Address(self._site, "+" if everyone else order.terminal)
            filters.append(address.topic(topics.operation(self._name, order.command_id)))
            if not everyone:
                statuses.append(address.topic(topics.STATUS))
        for begin in range(0, len(filters), _FILTERS_AT_ONCE):
            await link.subscribe(filters[begin : begin + _FILTERS_AT_ONCE])
        for begin in range(0, len(statuses), _FILTERS_AT_ONCE):
            await link.subscribe(statuses[begin : begin + _FILTERS_AT_ONCE], only_new=True)

    async def _send(self, link: Line) -> None:
        waiting = [
            order
            for order in self._orders
            if order.command_id not in self._sent and not self._tally.final(order.terminal) and not self._expired
        ]
        waiting.reverse()

        async def publish_in_turn() -> None:
            while waiting:
                await self._turn()
                if waiting:
                    await self._publish(link, waiting.pop())

        count = min(_PUBLISHERS, self._at_once, len(waiting))
        await _all_or_first_failure(*(publish_in_turn() for _ in range(count)))

    async def _send_and_again(self, link: Line) -> None:
        """Everything once, then what `_receive` asks to be sent again; without end."""
        await self._send(link)
        while True:
            await self._publish(link, await self._again.get())

    async def _publish(self, link: Line, order: SignedOrder) -> None:
        self._sent.add(order.command_id)
        self._working[order.terminal] = asyncio.get_running_loop().time()
        try:
            topic = topics.Address(self._site, order.terminal).topic(topics.request(self._name))
            await link.publish(topic, order.envelope)
        except BaseException:
            self._sent.discard(order.command_id)
            raise
        self._tell_sent(order)
        self._listener.progress()

    def _tell_sent(self, order: SignedOrder) -> None:
        if order.command_id not in self._told:
            self._told.add(order.command_id)
            self._listener.sent(order)

    async def _turn(self) -> None:
        """Wait while as many terminals are at work as may be."""
        while self._follow and self._at_work() >= self._at_once:
            self._moved.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), RETRY_S)

    def _at_work(self) -> int:
        now_s = asyncio.get_running_loop().time()
        for terminal, sent_s in list(self._working.items()):
            silent = not self._tally.heard(terminal) and now_s - sent_s >= _SILENT_S
            if silent or self._tally.final(terminal):
                del self._working[terminal]
        return len(self._working)

    async def _receive(self, link: Line) -> None:
        if self._tally.complete():
            return
        async for message in link.messages():
            where = origin(message.topic)
            if where is None:
                continue
            if where.below == topics.STATUS:
                self._came_online(where.terminal, message.payload)
                continue
            state = read_state(message.payload)
            order = None if state is None else self._by_id.get(state.command_id)
            if state is None or order is None or state.name != self._name:
                continue
            if order.command_id in self._sent:
                self._tell_sent(order)  # its answer may be here before the broker's acknowledgement
            if self._tally.take(where.terminal, state):
                self._moved.set()
                self._listener.state(where.terminal, state)
                self._listener.progress()
            if self._tally.complete():
                return

    def _came_online(self, terminal: str, payload: bytes) -> None:
        order = self._by_terminal.get(terminal)
        if order is None or order.command_id not in self._sent or self._tally.heard(terminal) or self._expired:
            return
        if is_online(payload):
            self._again.put_nowait(order)


async def _until_first(wanted: Awaitable[None], beside: Awaitable[None]) -> None:
    """Until ``wanted`` is done; ``beside`` has no end but a failure, which ends both and is raised."""
    tasks = [asyncio.ensure_future(wanted), asyncio.ensure_future(beside)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        done = [task for task in tasks if task.done()]
        await _end(tasks)
    for task in done:
        task.result()


async def _all_or_first_failure(*work: Awaitable[None]) -> None:
    """Run together; the first failure ends the others and is raised as it is."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await _end(tasks)
    for task in tasks:
        if not task.cancelled() and (failure := task.exception()) is not None:
            raise failure


async def _end(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
