"""A control socket that answers what a test tells it to, in a thread: a real unix socket, no agent behind it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

Answer = Callable[[Mapping[str, Any]], object]


@dataclass(frozen=True)
class RpcError:
    """Answered as a JSON-RPC error."""

    code: int = -32000
    message: str = "no"
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class RawAnswer:
    """Answered as these very bytes, whatever was asked. ``b""`` closes the connection without an answer."""

    content: bytes


class Silence:
    """Takes the request and never answers."""


class ControlStub:
    """Serves ``path`` until it is closed. ``answers`` may be changed while it runs; ``requests`` is what came in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, object] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def __enter__(self) -> ControlStub:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join()
        for connection in self._connections:
            connection.close()

    def asked(self, method: str) -> list[dict[str, Any]]:
        """The params of every call of ``method``, in order."""
        return [params for name, params in self.requests if name == method]

    def tell(self, kind: str, data: object) -> None:
        """An event to everyone who is connected."""
        params = {"kind": kind, "at": "2026-11-21T02:00:00.000Z", "data": data}
        line = json.dumps({"jsonrpc": "2.0", "method": "event", "params": params}).encode() + b"\n"
        for connection in self._connections:
            with contextlib.suppress(OSError):  # who has left is told nothing
                connection.sendall(line)

    def _accept(self) -> None:
        while True:
            try:
                connection, _peer = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._connections.append(connection)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rb") as lines:
                for line in lines:
                    request = json.loads(line)
                    self.requests.append((request["method"], request["params"]))
                    answer = self._answer(request)
                    if answer == b"":
                        connection.shutdown(socket.SHUT_RDWR)
                        return
                    if answer is not None:
                        connection.sendall(answer)
        except OSError:
            return

    def _answer(self, request: dict[str, Any]) -> bytes | None:
        answer = self.answers.get(request["method"], RpcError(-32601, "Method not found", {"code": "METHOD_NOT_FOUND"}))
        if callable(answer) and not isinstance(answer, type):
            answer = answer(request["params"])
        match answer:
            case Silence():
                return None
            case RawAnswer(content):
                return content
            case RpcError(code, message, data):
                body: dict[str, object] = {"error": {"code": code, "message": message, "data": dict(data)}}
            case _:
                body = {"result": answer}
        return json.dumps({"jsonrpc": "2.0", "id": request["id"], **body}).encode() + b"\n"
