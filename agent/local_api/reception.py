"""Who comes in: accepting connections, asking the kernel who is there, turning away with a word why.

Running out of descriptors is survived: whoever knocks meanwhile waits in the kernel's queue.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from agent.contract import rpc
from agent.contract.rpc import ErrorData, ErrorObject
from agent.local_api import peer
from agent.local_api.connection import Connection
from agent.local_api.limits import Limits
from agent.local_api.listening import Listener
from agent.local_api.peer import Caller
from agent.local_api.seldom import SeldomLog
from agent.runtime import process_identity

_ACCEPTS_PER_TURN: Final = 16
_ACCEPT_AGAIN_S: Final = 0.5


class Door(Struct, frozen=True):
    """Where a socket is and for whom. ``right`` names the group that the file belongs to; one of ``rights`` enters."""

    name: str
    path: Path
    right: str
    rights: frozenset[str]
    inherited: socket.socket | None = None


class Reception:
    """Accepts at one listener until closed; `connections` are those inside."""

    def __init__(
        self,
        door: Door,
        listener: Listener,
        limits: Limits,
        *,
        groups: Mapping[str, int],
        seldom: SeldomLog,
        connect: Callable[[Caller, ErrorObject | None], Connection],
    ) -> None:
        """``connect`` makes the connection of a peer, given why it is turned away, if it is."""
        self.connections: set[Connection] = set()
        self._door = door
        self._listener = listener
        self._limits = limits
        self._groups = dict(groups)
        self._seldom = seldom
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._of_process: Counter[int] = Counter()
        self._arriving: set[asyncio.Task[Any]] = set()
        self._again: asyncio.TimerHandle | None = None
        self._somebody_left = asyncio.Event()

    def open(self) -> None:
        """Accept from now on."""
        self._again = None
        self._loop.add_reader(self._listener.socket.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more; close the listener, and remove its file if it is ours."""
        self._loop.remove_reader(self._listener.socket.fileno())
        if self._again is not None:
            self._again.cancel()
        if self._listener.made:
            self._listener.path.unlink(missing_ok=True)
        self._listener.socket.close()

    async def empty(self) -> None:
        """End every connection, and return when all have left."""
        if self._arriving:
            await asyncio.wait(self._arriving)
        for connection in list(self.connections):
            connection.end()
        while self.connections:
            self._somebody_left.clear()
            await self._somebody_left.wait()

    def left(self, connection: Connection) -> None:
        """A connection is over."""
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        pid = connection.caller.pid
        self._of_process[pid] -= 1
        if not self._of_process[pid]:
            del self._of_process[pid]
        self._somebody_left.set()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                arrived, _address = self._listener.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as err:  # no descriptors or no memory
                self._seldom.tell("socket.accept_failed", reason=os.strerror(err.errno or 0))
                self._loop.remove_reader(self._listener.socket.fileno())
                self._again = self._loop.call_later(_ACCEPT_AGAIN_S, self.open)
                return
            self._admit(arrived)

    def _admit(self, arrived: socket.socket) -> None:
        arrived.setblocking(False)
        try:
            who = peer.credentials(arrived)
        except OSError:
            arrived.close()
            return
        private_to = os.geteuid() if self._listener.private else None
        rights = peer.rights_of(who.uid, who.gids, self._groups, private_to)
        caller = Caller(who.pid, who.uid, rights, process_identity.began(who.pid))
        connection = self._connect(caller, self._refusal(rights, who.pid, who.uid))
        self.connections.add(connection)
        self._of_process[who.pid] += 1
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: connection, arrived))
        self._arriving.add(task)
        task.add_done_callback(partial(self._arrived, connection))

    def _arrived(self, connection: Connection, task: asyncio.Task[Any]) -> None:
        self._arriving.discard(task)
        if task.cancelled() or task.exception() is not None:
            self.left(connection)

    def _refusal(self, rights: frozenset[str], pid: int, uid: int) -> ErrorObject | None:
        if not rights & self._door.rights:
            self._seldom.tell("socket.peer_refused", uid=uid, pid=pid)
            group = peer.GROUP_NAMES[self._door.right]
            return refusal("NOT_AUTHORISED", f"this socket is for members of {group}", f"join the group {group}")
        limits = self._limits
        if len(self.connections) >= limits.connections or self._of_process[pid] >= limits.connections_of_one:
            self._seldom.tell("socket.too_many_connections", connections=len(self.connections), pid=pid)
            return refusal("TOO_MANY_CONNECTIONS", "too many connections", "use one connection, and pipeline")
        return None


def refusal(code: str, message: str, hint: str | None = None) -> ErrorObject:
    """One of the agent's own errors."""
    return ErrorObject(rpc.AGENT_ERROR, message, ErrorData(code, hint=hint))
