"""Events: whoever subscribed is told what changes, as JSON-RPC notifications, each line encoded once for all.

A subscription belongs to a connection and ends with it. Nothing is kept for anybody: who does not read is cut off by
the limits of unread answers, and asks for the present state when it has connected again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import msgspec
from msgspec import Raw

from agent.contract import rpc
from agent.contract.calls import EventKind, EventParams, EventsSubscribeParams, LockData
from agent.contract.command import CommandState
from agent.local_api.peer import Caller
from agent.local_api.server import Method
from agent.runtime.clock import Clock, rfc3339

_OF_HEALTH: Final = {"health": EventKind.HEALTH, "readiness": EventKind.READINESS}
_NO_RESULT: Final = Raw(b"null")
_encoder: Final = msgspec.json.Encoder()


def event_line(event: EventParams) -> bytes:
    """The notification with its newline."""
    return b'{"jsonrpc":"2.0","method":"event","params":%b}\n' % _encoder.encode(event)


def subscribing(right: str) -> Method:
    """``events.subscribe``; what it gives is the server's to keep, and the peer is answered ``{}``."""
    return Method(_kinds, right, subscribes=True)


def _kinds(params: Mapping[str, object], _caller: Caller) -> frozenset[str]:
    return frozenset(rpc.decode_params(params, EventsSubscribeParams).kinds)


class Teller(Protocol):
    """A socket whose peers can subscribe."""

    def tell(self, kind: str, line: bytes) -> None:
        """Send ``line`` to whoever subscribed to ``kind``."""
        ...

    def is_heard(self, kind: str) -> bool:
        """Whether anybody did."""
        ...


class Announcements:
    """What both sockets tell their subscribers, each what it may see.

    ``payment.sock`` is told of operations only where they concern sales (exclusive ones), and not what they brought.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._payment: tuple[Teller, ...] = ()
        self._control: tuple[Teller, ...] = ()

    def heard_at(self, *, payment: Teller, control: Teller) -> None:
        """Tell it there from now on; before, nobody can have subscribed."""
        self._payment, self._control = (payment,), (control,)

    def health(self, kind: str, now: object) -> None:
        """``health`` with a `DeviceHealth`, ``readiness`` with a `Readiness`: as the room of health tells changes."""
        self._tell((*self._payment, *self._control), _OF_HEALTH[kind], now)

    def operation(self, state: CommandState, exclusive: bool) -> None:
        """An order's state was recorded; ``exclusive``: it has the terminal for itself."""
        self._tell(self._control, EventKind.OPERATION, state)
        if exclusive:
            self._tell(self._payment, EventKind.OPERATION, msgspec.structs.replace(state, result=_NO_RESULT))

    def lock(self, reason: str | None) -> None:
        """The terminal was locked, for ``reason``, or unlocked (None)."""
        self._tell((*self._payment, *self._control), EventKind.LOCK, LockData(reason is not None, reason))

    def _tell(self, tellers: Iterable[Teller], kind: EventKind, data: object) -> None:
        heard = [teller for teller in tellers if teller.is_heard(kind)]
        if not heard:
            return
        line = event_line(EventParams(kind, rfc3339(self._clock.now()), data))
        for teller in heard:
            teller.tell(kind, line)
