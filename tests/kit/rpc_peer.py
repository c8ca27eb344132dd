"""A peer of a local socket for tests: raw bytes out, JSON lines in; and a server of one's own methods to talk to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from agent.local_api.limits import PAYMENT_LIMITS, Limits
from agent.local_api.server import PAYMENT_RIGHTS, Door, LocalServer, Method

WAIT_S = 20.0
NOT_JSON, INVALID_REQUEST, NO_METHOD, BAD_PARAMS, INTERNAL, OF_THE_AGENT = (
    -32700,
    -32600,
    -32601,
    -32602,
    -32603,
    -32000,
)


class RpcPeer:
    """One connection. Every wait has a deadline."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._next_id = 0

    @classmethod
    async def connect(cls, path: Path) -> RpcPeer:
        return cls(*await asyncio.open_unix_connection(str(path), limit=64 * 1024 * 1024))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(WAIT_S):
            await self.writer.drain()

    async def send_line(self, value: object) -> None:
        await self.send(json.dumps(value).encode() + b"\n")

    async def answer(self) -> dict[str, Any]:
        """The next answer; the connection must not end before it."""
        async with asyncio.timeout(WAIT_S):
            line = await self.reader.readline()
        assert line.endswith(b"\n"), f"the connection ended; received {line!r}"
        answer: dict[str, Any] = json.loads(line)
        assert answer["jsonrpc"] == "2.0"
        return answer

    async def ask(self, data: bytes) -> dict[str, Any]:
        """Send raw bytes, give the next answer."""
        await self.send(data)
        return await self.answer()

    async def call(self, method: str, params: object = None) -> dict[str, Any]:
        """One call; its whole answer, which has the right id."""
        self._next_id += 1
        request = {"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params if params else {}}
        await self.send_line(request)
        answer = await self.answer()
        assert answer["id"] == self._next_id, answer
        return answer

    async def result(self, method: str, params: object = None) -> Any:
        answer = await self.call(method, params)
        assert "result" in answer, answer
        return answer["result"]

    async def error(self, method: str, params: object = None) -> dict[str, Any]:
        answer = await self.call(method, params)
        error: dict[str, Any] = answer["error"]
        return error

    async def rest(self) -> bytes:
        """All that still comes until the server closes; a reset counts as closed."""
        received = b""
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionError):
                while part := await self.reader.read(65536):
                    received += part
        return received

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def peer_of(path: Path) -> AsyncIterator[RpcPeer]:
    peer = await RpcPeer.connect(path)
    try:
        yield peer
    finally:
        await peer.close()


@dataclass
class Served:
    """A running server with what it told."""

    server: LocalServer
    path: Path
    task: asyncio.Task[None]
    card_data: list[str] = field(default_factory=list)

    async def stop(self) -> None:
        self.task.cancel()
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait([self.task])

    def connect(self) -> contextlib.AbstractAsyncContextManager[RpcPeer]:
        return peer_of(self.path)


MethodsFor = Callable[[Callable[[str], None]], Mapping[str, Method]]


@asynccontextmanager
async def serving(
    folder: Path,
    methods: Mapping[str, Method] | MethodsFor,
    *,
    limits: Limits = PAYMENT_LIMITS,
    rights: frozenset[str] = PAYMENT_RIGHTS,
    right: str = "payment",
    groups: Mapping[str, int] | None = None,
    inherited: socket.socket | None = None,
    **changes: Any,
) -> AsyncIterator[Served]:
    """Serve ``folder/s.sock``; ``changes`` are laid over ``limits``. Stopped in order at the end."""
    path = folder / "s.sock"
    card_data: list[str] = []
    server = LocalServer(
        Door("payment", path, right, rights, inherited),
        methods(card_data.append) if callable(methods) else methods,
        replace(limits, **changes),
        groups=groups or {},
        on_card_data=card_data.append,
    )
    server.open()
    served = Served(server, path, asyncio.create_task(server.run()), card_data)
    try:
        yield served
    finally:
        await served.stop()
        assert served.task.cancelled(), served.task.exception()


async def until(what: str, condition: Callable[[], bool]) -> None:
    """Wait for ``condition``, at most `WAIT_S`."""
    deadline_s = asyncio.get_running_loop().time() + WAIT_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline_s, f"never: {what}"
        await asyncio.sleep(0.005)
