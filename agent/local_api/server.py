"""One unix socket served: who may come in, what a call is answered, and an orderly end.

Handlers are called in the order in which a connection's frames came, synchronously; what they begin takes effect in
that order. They give a value, or a future or coroutine whose outcome is the answer. Everything a peer can do wrong
harms its own connection only. What methods mean is in ``payment.py`` and ``control.py``.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from agent.contract import rpc
from agent.contract.rpc import ErrorData, ErrorObject
from agent.errors import AgentError, CardDataRejected, Unavailable
from agent.local_api import listening, peer
from agent.local_api.connection import READ_BYTES, Connection
from agent.local_api.limits import Limits
from agent.local_api.listening import Listener
from agent.local_api.peer import Caller
from agent.local_api.wire import Request

log = structlog.get_logger("local_api")

Handler = Callable[[Mapping[str, object], Caller], Any]
_ACCEPTS_PER_TURN: Final = 64
_ACCEPT_AGAIN_S: Final = 0.5
_SAME_EVENT_EVERY_S: Final = 60.0
_LOOKS_PER_STALL: Final = 8


@dataclass(frozen=True)
class Method:
    """``result`` makes the answer of what ``handle`` gave. ``detached``: it goes on when its caller is gone."""

    handle: Handler
    right: str
    result: Callable[[Any], object] | None = None
    detached: bool = False


@dataclass(frozen=True)
class Door:
    """Where a socket is and for whom. ``right`` names the group that the file belongs to; one of ``rights`` enters."""

    name: str
    path: Path
    right: str
    rights: frozenset[str]
    inherited: socket.socket | None = None


PAYMENT_RIGHTS: Final = frozenset({peer.PAYMENT})
CONTROL_RIGHTS: Final = frozenset({peer.SUPPORT, peer.ADMIN})


class LocalServer:
    """A service: `open` makes the socket there, `run` serves it until cancelled."""

    def __init__(
        self,
        door: Door,
        methods: Mapping[str, Method],
        limits: Limits,
        *,
        groups: Mapping[str, int],
        on_card_data: Callable[[str], None],
    ) -> None:
        """
        Args:
            groups: As `peer.group_ids` gives them.
            on_card_data: Told the rule each time card data was offered (fault ``SEC-PAN-001``).
        """
        self.name = f"{door.name}_socket"
        self.limits = limits
        self.inbound = bytearray(READ_BYTES)
        self._door = door
        self._methods = dict(methods)
        self._groups = dict(groups)
        self.card_data_seen = on_card_data
        self._listener: Listener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: set[Connection] = set()
        self._of_process: Counter[int] = Counter()
        self._arriving: set[asyncio.Task[Any]] = set()
        self._detached: set[asyncio.Future[Any]] = set()
        self._with_answers: list[Connection] = []
        self._unread: set[Connection] = set()
        self._look: asyncio.TimerHandle | None = None
        self._accept_again: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._held_bytes = 0
        self._told: dict[str, tuple[float, int]] = {}

    @property
    def connections(self) -> int:
        """How many peers are connected."""
        return len(self._connections)

    # ── life ───────────────────────────────────────────────────────────────────────────────────────────────────
    def open(self) -> None:
        """Make the socket, or take the one that systemd made: from now on peers can connect. Blocking, short.

        Raises:
            NeedsPerson: It cannot be made.
        """
        if self._listener is not None:
            return
        gid = self._groups.get(self._door.right)
        if self._door.inherited is not None:
            self._listener = listening.take_over(self._door.inherited, group_exists=gid is not None)
        else:
            self._listener = listening.make(self._door.path, gid)
        listening.allow_many_descriptors()
        log.info(
            "socket.opened",
            socket=self._door.name,
            path=str(self._listener.path),
            inherited=not self._listener.made,
            private=self._listener.private,
        )

    async def run(self) -> None:
        """Serve until cancelled; then answer what is under way, and close."""
        self.open()
        self._loop = asyncio.get_running_loop()
        self._start_accepting()
        try:
            await self._loop.create_future()
        finally:
            await self._close()

    async def _close(self) -> None:
        self._stop_accepting()
        listener = self._listener
        if listener is not None:
            if listener.made:
                listener.path.unlink(missing_ok=True)
            listener.socket.close()
        try:
            async with asyncio.timeout(self.limits.stop_grace_s):
                if self._arriving:
                    await asyncio.wait(self._arriving)
                for connection in list(self._connections):
                    connection.end()
                while self._connections:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            log.warning("socket.peers_left", socket=self._door.name, connections=len(self._connections))
        finally:
            for connection in list(self._connections):
                connection.abort()
            for handle in (self._look, self._accept_again):
                if handle is not None:
                    handle.cancel()
            for task in self._detached:
                task.cancel()
        await asyncio.sleep(0)  # aborted transports close their descriptors in the loop's next turn
        log.info("socket.closed", socket=self._door.name)

    # ── peers come and go ──────────────────────────────────────────────────────────────────────────────────────
    def _start_accepting(self) -> None:
        self._accept_again = None
        if self._loop is not None and self._listener is not None:
            self._loop.add_reader(self._listener.socket.fileno(), self._accept)

    def _stop_accepting(self) -> None:
        if self._loop is not None and self._listener is not None:
            self._loop.remove_reader(self._listener.socket.fileno())

    def _accept(self) -> None:
        if self._listener is None or self._loop is None:
            return
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                arrived, _address = self._listener.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as err:  # no descriptors or no memory: those who knock wait in the kernel's queue
                self._tell("socket.accept_failed", reason=os.strerror(err.errno or 0))
                self._stop_accepting()
                self._accept_again = self._loop.call_later(_ACCEPT_AGAIN_S, self._start_accepting)
                return
            self._admit(arrived, self._loop)

    def _admit(self, arrived: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        arrived.setblocking(False)
        try:
            who = peer.credentials(arrived)
        except OSError:
            arrived.close()
            return
        private = self._listener is not None and self._listener.private
        rights = peer.rights_of(who.uid, who.gids, self._groups, os.geteuid() if private else None)
        connection = Connection(self, Caller(who.pid, who.uid, rights), self._refusal(rights, who.pid, who.uid))
        self._connections.add(connection)
        self._of_process[who.pid] += 1
        task = loop.create_task(loop.connect_accepted_socket(lambda: connection, arrived))
        self._arriving.add(task)
        task.add_done_callback(partial(self._arrived, connection))

    def _arrived(self, connection: Connection, task: asyncio.Task[Any]) -> None:
        self._arriving.discard(task)
        if task.cancelled() or task.exception() is not None:
            self.peer_lost(connection)

    def _refusal(self, rights: frozenset[str], pid: int, uid: int) -> ErrorObject | None:
        if not rights & self._door.rights:
            self._tell("socket.peer_refused", uid=uid, pid=pid)
            group = peer.GROUP_NAMES[self._door.right]
            return _refusal("NOT_AUTHORISED", f"this socket is for members of {group}", f"join the group {group}")
        limits = self.limits
        if len(self._connections) >= limits.connections or self._of_process[pid] >= limits.connections_of_one:
            self._tell("socket.too_many_connections", connections=len(self._connections), pid=pid)
            return _refusal("TOO_MANY_CONNECTIONS", "too many connections", "use one connection, and pipeline")
        return None

    def peer_lost(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._unread.discard(connection)
        pid = connection.caller.pid
        self._of_process[pid] -= 1
        if not self._of_process[pid]:
            del self._of_process[pid]
        if not self._connections:
            self._empty.set()

    def peer_cut_off(self, connection: Connection, why: str) -> None:
        self._tell("socket.peer_cut_off", pid=connection.caller.pid, uid=connection.caller.uid, why=why)

    # ── calls ──────────────────────────────────────────────────────────────────────────────────────────────────
    def perform(self, connection: Connection, request: Request) -> bytes | None:
        method = self._methods.get(request.method)
        if method is None:
            return self._refused(request, rpc.NO_SUCH_METHOD)
        if method.right not in connection.caller.rights:
            return self._refused(request, _refusal("NOT_AUTHORISED", f"this call needs the right {method.right}"))
        try:
            outcome = method.handle(request.params, connection.caller)
        except Exception as err:  # noqa: BLE001  # the one place where a call's failure must not be the agent's
            return self._refused(request, self._described(err, request.method))
        if inspect.iscoroutine(outcome):
            outcome = self._start(connection, method, outcome)
        if not isinstance(outcome, asyncio.Future):
            return self._answer(request, method, outcome)
        connection.open_calls += 1
        outcome.add_done_callback(partial(self._finished, connection, request, method))
        return None

    def _start(self, connection: Connection, method: Method, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        owner = self._detached if method.detached else connection.tasks
        owner.add(task)
        task.add_done_callback(owner.discard)
        return task

    def _finished(self, connection: Connection, request: Request, method: Method, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            stopping = Unavailable("the agent is stopping", hint="ask again after its start")
            answer = self._refused(request, rpc.error_object(stopping))
        elif (err := future.exception()) is not None:
            answer = self._refused(request, self._described(err, request.method))
        else:
            answer = self._answer(request, method, future.result())
        connection.finish(answer)

    def _answer(self, request: Request, method: Method, outcome: Any) -> bytes | None:
        if request.request_id is None:
            return None
        try:
            return rpc.result_line(request.request_id, outcome if method.result is None else method.result(outcome))
        except Exception as err:  # noqa: BLE001  # a result that cannot be told is a failed call too
            return self._refused(request, self._described(err, request.method))

    def _refused(self, request: Request, error: ErrorObject) -> bytes | None:
        return None if request.request_id is None else rpc.error_line(request.request_id, error)

    def _described(self, err: BaseException, method: str) -> ErrorObject:
        if isinstance(err, AgentError):
            if isinstance(err, CardDataRejected):
                self.card_data_seen(str(err.facts.get("rule")))
            return rpc.error_object(err)
        log.error("call.failed", socket=self._door.name, method=method, error=type(err).__name__, exc_info=err)
        return rpc.INTERNAL

    # ── what connections ask for ───────────────────────────────────────────────────────────────────────────────
    def answers_soon(self, connection: Connection) -> None:
        self._with_answers.append(connection)
        if len(self._with_answers) == 1 and self._loop is not None:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        connections, self._with_answers = self._with_answers, []
        for connection in connections:
            connection.flush()

    def answers_wait(self, connection: Connection) -> None:
        self._unread.add(connection)
        if self._look is None and self._loop is not None:
            self._look = self._loop.call_later(self.limits.stalled_s / _LOOKS_PER_STALL, self._look_at_readers)

    def _look_at_readers(self) -> None:
        self._look = None
        if self._loop is None:
            return
        now_s = self._loop.time()
        self._unread = {connection for connection in list(self._unread) if connection.check_reader(now_s)}
        if self._unread:
            self._look = self._loop.call_later(self.limits.stalled_s / _LOOKS_PER_STALL, self._look_at_readers)

    def holds(self, change_bytes: int) -> None:
        self._held_bytes += change_bytes
        if self._held_bytes > self.limits.held_bytes:
            longest = max(self._connections, key=lambda connection: connection.held_bytes)
            self.peer_cut_off(longest, "too much of unfinished frames")
            longest.refuse(_refusal("TOO_MUCH_UNFINISHED", "too many unfinished lines", "finish a line soon"))

    def _tell(self, event: str, **fields: str | int) -> None:
        """Log what peers can cause as often as they like: one event of a kind a minute, with the number left out."""
        now_s = asyncio.get_running_loop().time()
        last_s, left_out = self._told.get(event, (-_SAME_EVENT_EVERY_S, 0))
        if now_s - last_s < _SAME_EVENT_EVERY_S:
            self._told[event] = (last_s, left_out + 1)
            return
        self._told[event] = (now_s, 0)
        log.warning(event, socket=self._door.name, not_logged=left_out, **fields)


def _refusal(code: str, message: str, hint: str | None = None) -> ErrorObject:
    return ErrorObject(rpc.AGENT_ERROR, message, ErrorData(code, hint=hint))
