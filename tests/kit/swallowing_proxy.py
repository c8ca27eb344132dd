"""A TCP proxy in the test's own loop that can turn into a half-open link: it takes everything and hands on nothing."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType


class SwallowingProxy:
    """``async with SwallowingProxy(port) as proxy:``; connections that are open when `swallow` is called stay so."""

    host = "127.0.0.1"

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._swallowed_up_to = 0  # connections are numbered from 1
        self.port = 0
        self.accepted = 0
        self.swallowed_bytes = 0

    def swallow(self) -> None:
        """From now on nothing goes through on the connections of now; new ones work."""
        self._swallowed_up_to = self.accepted

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        number = self.accepted
        far_reader, far_writer = await asyncio.open_connection(self.host, self._target_port)
        self._writers += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            pump = asyncio.create_task(self._pump(number, source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, number: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if number <= self._swallowed_up_to:
                    self.swallowed_bytes += len(data)
                    continue
                sink.write(data)
                await sink.drain()
        if number > self._swallowed_up_to:
            sink.close()  # a half-open link does not tell the far side of an end either

    async def __aenter__(self) -> SwallowingProxy:
        self._server = await asyncio.start_server(self._take, self.host, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for pump in list(self._pumps):
            pump.cancel()
        if self._pumps:
            await asyncio.wait(self._pumps)
        for writer in self._writers:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
