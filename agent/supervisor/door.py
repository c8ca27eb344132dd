"""The supervisor's one socket: newline JSON, for its own uid alone (0600)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path, PurePosixPath
from typing import Final

import structlog

from agent.errors import AgentError, BadRequest, NeedsPerson
from agent.machine.supervisor_wire import MAX_LINE_BYTES, Answer, Request, decode_request, encode_line
from agent.supervisor.folders import opened
from agent.supervisor.keeper import Keeper

log = structlog.get_logger("supervisor")

_LONGEST_PATH_BYTES: Final = 107
_MAX_CLIENTS: Final = 64


class Door:
    """Answers questions about the units; a client that speaks nonsense loses its own connection only."""

    def __init__(self, folder: Path, relative: str, keeper: Keeper) -> None:
        self._folder = folder
        self._relative = PurePosixPath(relative)
        self._path = folder / relative
        self._keeper = keeper
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen. A socket that a killed supervisor left behind is replaced.

        Raises:
            NeedsPerson: Its path is too long, or another supervisor listens there.
        """
        if len(os.fsencode(self._path)) > _LONGEST_PATH_BYTES:
            raise NeedsPerson(f"{self._path} is too long for a socket ({_LONGEST_PATH_BYTES} bytes at most)")
        with opened(self._folder, str(self._relative.parent), make=True) as folder:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(os.fspath(self._path)) == 0:
                    raise NeedsPerson(f"another supervisor listens at {self._path}", hint="stop it first")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._relative.name, dir_fd=folder)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        old = os.umask(0o177)
        try:
            listener.bind(os.fspath(self._path))
        finally:
            os.umask(old)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_LINE_BYTES)

    async def close(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self._server.close()
        for client in self._clients:
            client.cancel()
        if self._clients:
            await asyncio.wait(self._clients)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._clients) >= _MAX_CLIENTS:
            writer.close()
            return
        self._clients.add(task)
        try:
            while line := await reader.readline():
                writer.write(encode_line(await self._answer(line)))
                await writer.drain()
        except (ValueError, OSError) as err:  # ValueError: a line without end
            log.warning("client.dropped", error=type(err).__name__)
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(self, line: bytes) -> Answer:
        try:
            request = decode_request(line)
            return await self._found(request)
        except AgentError as err:
            return Answer(problem=err.message)

    async def _found(self, request: Request) -> Answer:
        match request.verb:
            case "counters":
                return Answer(counters=self._keeper.counters())
            case "state":
                if request.unit is None:
                    raise BadRequest("the state of which unit?", field="unit")
                return Answer(state=self._keeper.state(request.unit))
            case _:
                return Answer(outcome=await self._keeper.perform(request.act()))
