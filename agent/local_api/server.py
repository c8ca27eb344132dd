"""One unix socket served: what a call is answered, and an orderly end. Who may come in: ``reception.py``.

Handlers are called in the order in which a connection's frames came, synchronously; what they begin takes effect in
that order. They give a value, or a future or coroutine whose outcome is the answer. Everything a peer can do wrong
harms its own connection only. What methods mean is in ``payment.py`` and ``control.py``.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

import structlog
from msgspec import Struct

from agent.contract import rpc
from agent.contract.rpc import ErrorObject, Nothing
from agent.errors import AgentError, CardDataRejected, Unavailable
from agent.local_api import listening, peer
from agent.local_api.connection import READ_BYTES, Connection
from agent.local_api.limits import Limits
from agent.local_api.listening import Listener
from agent.local_api.peer import Caller
from agent.local_api.reception import Door, Reception, refusal
from agent.local_api.seldom import SeldomLog
from agent.local_api.turns import Turns
from agent.local_api.wire import Request

__all__ = ["CONTROL_RIGHTS", "PAYMENT_RIGHTS", "Door", "LocalServer", "Method"]

log = structlog.get_logger("local_api")

Handler = Callable[[Mapping[str, object], Caller], Any]
_LOOKS_PER_STALL: Final = 8
_NOTICES_PER_TURN: Final = 32
_SUBSCRIBED: Final = Nothing()


class Method(Struct, frozen=True):
    """``result`` makes the answer of what ``handle`` gave. ``detached``: it goes on when its caller is gone.

    ``subscribes``: ``handle`` gives the kinds of events that this connection is told of from now on.
    """

    handle: Handler
    right: str
    result: Callable[[Any], object] | None = None
    detached: bool = False
    subscribes: bool = False


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
        self.turns: Turns
        self._door = door
        self._methods = dict(methods)
        self._groups = dict(groups)
        self.card_data_seen = on_card_data
        self._seldom = SeldomLog(door.name)
        self._listener: Listener | None = None
        self._reception: Reception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._detached: set[asyncio.Future[Any]] = set()
        self._with_answers: list[Connection] = []
        self._with_notices: deque[Connection] = deque()
        self._subscriptions: dict[Connection, frozenset[str]] = {}
        self._heard: Counter[str] = Counter()
        self._unread: set[Connection] = set()
        self._look: asyncio.TimerHandle | None = None
        self._held_bytes = 0
        self._waiting_bytes = 0

    @property
    def connections(self) -> int:
        """How many peers are connected."""
        return len(self._reception.connections) if self._reception is not None else 0

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
        self.turns = Turns(self._loop)
        if self._listener is None:
            return
        reception = Reception(
            self._door,
            self._listener,
            self.limits,
            groups=self._groups,
            seldom=self._seldom,
            connect=partial(Connection, self),
        )
        self._reception = reception
        reception.open()
        try:
            await self._loop.create_future()
        finally:
            reception.close()
            await self._end(reception)

    async def _end(self, reception: Reception) -> None:
        try:
            async with asyncio.timeout(self.limits.stop_grace_s):
                await reception.empty()
        except TimeoutError:
            log.warning("socket.peers_left", socket=self._door.name, connections=len(reception.connections))
        finally:
            for connection in list(reception.connections):
                connection.abort()
            if self._look is not None:
                self._look.cancel()
            for task in self._detached:
                task.cancel()
        await asyncio.sleep(0)  # aborted transports close their descriptors in the loop's next turn
        log.info("socket.closed", socket=self._door.name)

    # ── calls ──────────────────────────────────────────────────────────────────────────────────────────────────
    def perform(self, connection: Connection, request: Request) -> bytes | None:
        method = self._methods.get(request.method)
        if method is None:
            return self._refused(request, rpc.NO_SUCH_METHOD)
        if method.right not in connection.caller.rights:
            return self._refused(request, refusal("NOT_AUTHORISED", f"this call needs the right {method.right}"))
        try:
            outcome = method.handle(request.params, connection.caller)
        except Exception as err:  # noqa: BLE001  # the one place where a call's failure must not be the agent's
            return self._refused(request, self._described(err, request.method))
        if method.subscribes:
            self._subscribe(connection, outcome)
            outcome = _SUBSCRIBED
        if asyncio.iscoroutine(outcome):
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

    # ── events ─────────────────────────────────────────────────────────────────────────────────────────────────
    def is_heard(self, kind: str) -> bool:
        return self._heard[kind] > 0

    def tell(self, kind: str, line: bytes) -> None:
        for connection, kinds in self._subscriptions.items():
            if kind in kinds:
                connection.notify(line)

    def _subscribe(self, connection: Connection, kinds: frozenset[str]) -> None:
        """In place of what it had subscribed to before; an empty set ends it."""
        self._heard.subtract(self._subscriptions.pop(connection, ()))
        if kinds:
            self._subscriptions[connection] = kinds
            self._heard.update(kinds)

    # ── what connections ask for ───────────────────────────────────────────────────────────────────────────────
    def peer_lost(self, connection: Connection) -> None:
        self._unread.discard(connection)
        self._subscribe(connection, frozenset())
        if self._reception is not None:
            self._reception.left(connection)

    def peer_cut_off(self, connection: Connection, why: str) -> None:
        self._seldom.tell("socket.peer_cut_off", pid=connection.caller.pid, uid=connection.caller.uid, why=why)

    def answers_soon(self, connection: Connection) -> None:
        self._with_answers.append(connection)
        if len(self._with_answers) == 1 and self._loop is not None:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        connections, self._with_answers = self._with_answers, []
        for connection in connections:
            connection.flush()

    def notices_soon(self, connection: Connection) -> None:
        self._with_notices.append(connection)
        if len(self._with_notices) == 1 and self._loop is not None:
            self._loop.call_soon(self._flush_notices)

    def _flush_notices(self) -> None:
        """A part of them, so that a thousand subscribers keep nobody's record waiting."""
        for _ in range(min(_NOTICES_PER_TURN, len(self._with_notices))):
            self._with_notices.popleft().flush()
        if self._with_notices and self._loop is not None:
            self._loop.call_soon(self._flush_notices)

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

    def keeps_waiting(self, change_bytes: int) -> None:
        self._waiting_bytes += change_bytes
        if change_bytes > 0 and self._waiting_bytes > self.limits.waiting_of_all_bytes and self._unread:
            most = max(self._unread, key=lambda connection: connection.waiting_bytes)
            most.cut_off("too many of all answers waited")

    def holds(self, change_bytes: int) -> None:
        self._held_bytes += change_bytes
        if self._held_bytes > self.limits.held_bytes and self._reception is not None:
            longest = max(self._reception.connections, key=lambda connection: connection.held_bytes)
            self.peer_cut_off(longest, "too much of unfinished frames")
            longest.refuse(refusal("TOO_MUCH_UNFINISHED", "too many unfinished lines", "finish a line soon"))
