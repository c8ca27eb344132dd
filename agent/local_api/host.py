"""What a connection needs of the server that it belongs to. No code in this file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from agent.local_api.limits import Limits
from agent.local_api.turns import Turns
from agent.local_api.wire import Request

if TYPE_CHECKING:
    from agent.local_api.connection import Connection


class Host(Protocol):
    """The server, as its connections see it."""

    limits: Limits
    turns: Turns
    inbound: bytearray
    """One buffer for everybody: it is filled and emptied within one call of the loop."""

    def perform(self, connection: Connection, request: Request) -> bytes | None:
        """Begin a call. The answer if it is there already; None: it comes by `Connection.finish`, or never."""
        ...

    def card_data_seen(self, rule: str) -> None: ...
    def answers_soon(self, connection: Connection) -> None:
        """Have `Connection.flush` called before the loop looks at sockets again."""
        ...

    def notices_soon(self, connection: Connection) -> None:
        """The same, after the answers of all others."""
        ...

    def answers_wait(self, connection: Connection) -> None:
        """Look at this connection from time to time until all is read."""
        ...

    def keeps_waiting(self, change_bytes: int) -> None:
        """Unread answers grew or shrank."""
        ...

    def holds(self, change_bytes: int) -> None:
        """Unread frames grew or shrank."""
        ...

    def peer_cut_off(self, connection: Connection, why: str) -> None: ...
    def peer_lost(self, connection: Connection) -> None: ...
