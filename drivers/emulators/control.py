"""The control socket of an emulator: one JSON object a line in, one out; for shells (``socat``), tests and the demo.

Requests: ``{"get": true}``, ``{"set": {"paper_end": true, "slow": 0.5}}``, ``{"send": "12 12"}`` (bytes in hex that the
device sends by itself), ``{"do": "type", …}`` (what else an emulator can do). Answers: ``{"ok": true, "port", "state",
"counters", "last_slip"}``, or ``{"ok": false, "error"}``, and then nothing was changed. A tool for one person on one
machine: mode 0600, no other protection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LINE_LIMIT_BYTES = 65_536
_CLIENT_TIMEOUT_S = 10.0

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class ControlError(Exception):
    """A request that makes no sense to the emulator, or an emulator that is not there."""


@dataclass(frozen=True)
class EmulatorView:
    """What an emulator says about itself: port, conditions and behaviour, own counters, the last slip of a printer."""

    port: str
    state: dict[str, Any]
    counters: dict[str, int]
    last_slip: list[str]


class EmulatorControl:
    """Client for tests and the demo; one connection a call. It blocks: not for the emulator's own loop."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self) -> EmulatorView:
        """State and counters now."""
        return self._ask({"get": True})

    def set(self, **state: bool | float | str) -> EmulatorView:
        """Change conditions or behaviour; returns once they are in force."""
        return self._ask({"set": state})

    def send(self, data: bytes) -> EmulatorView:
        """Let the device send bytes that nobody asked for."""
        return self._ask({"send": data.hex()})

    def do(self, what: str, **arguments: Any) -> EmulatorView:
        """Let it do something, such as ``type`` for a keypad; returns once that has begun."""
        return self._ask({"do": what, **arguments})

    def _ask(self, request: dict[str, Any]) -> EmulatorView:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_CLIENT_TIMEOUT_S)
                connection.connect(str(self._path))
                connection.sendall(json.dumps(request).encode() + b"\n")
                with connection.makefile("rb") as lines:
                    line = lines.readline()
        except OSError as err:
            raise ControlError(f"no emulator at {self._path}: {err.strerror or 'no answer'}") from err
        if not line.endswith(b"\n"):
            raise ControlError(f"the emulator at {self._path} hung up")
        answer = json.loads(line)
        if not answer["ok"]:
            raise ControlError(answer["error"])
        return EmulatorView(answer["port"], answer["state"], answer["counters"], answer.get("last_slip", []))


class ControlServer:
    """Serves ``handle`` on a unix socket. ``handle`` raises `ControlError` to refuse."""

    def __init__(self, path: Path, handle: Handler) -> None:
        self._path = path
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._peers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Takes the place of a socket that nobody serves any more; refuses one that is served."""
        if self._path.is_socket():
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(self._path)) == 0:
                    raise ControlError(f"another emulator is running at {self._path}")
            self._path.unlink()
        elif self._path.exists():
            raise ControlError(f"{self._path} exists and is no socket")
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=_LINE_LIMIT_BYTES)
        finally:
            os.umask(before)

    async def stop(self) -> None:
        """Stop listening, hang up, remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._peers):
            task.cancel()
        await asyncio.gather(*self._peers, return_exceptions=True)
        await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._peers.add(task)
        try:
            with contextlib.suppress(ConnectionError, ValueError, asyncio.CancelledError):  # ValueError: line too long
                while line := await reader.readline():
                    writer.write(json.dumps(self._answer(line), ensure_ascii=False).encode() + b"\n")
                    await writer.drain()
        finally:
            writer.close()
            if task is not None:
                self._peers.discard(task)

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                return {"ok": False, "error": "a request is one JSON object on one line"}
            return {"ok": True, **self._handle(request)}
        except (ValueError, RecursionError):
            return {"ok": False, "error": "a request is one JSON object on one line"}
        except ControlError as err:
            return {"ok": False, "error": str(err)}
