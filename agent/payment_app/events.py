"""What changes on the terminal, as it changes: an iterator over events that survives every restart of the agent."""

from __future__ import annotations

import json
import os
import socket
import threading
from dataclasses import dataclass
from typing import Any, Iterator, Optional, Sequence, Union

from agent.payment_app.answers import Facts

KINDS = ("lock", "operation", "health", "readiness")
FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 5.0
_MAX_LINE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Event:
    """``kind`` is one of `KINDS`, or ``state``: the answer of ``terminal.state`` at each new connection.

    What happened while there was no connection is not told afterwards; ``state`` says what is so now.
    """

    kind: str
    at: Optional[str]
    data: Any


class _Broken(Exception):
    """The connection is gone, or what answers is not the agent."""


class Events:
    """Iterate over it, in a thread of its own; `close` from any thread ends the iteration."""

    def __init__(self, path: Union[str, "os.PathLike[str]"], kinds: Sequence[str]) -> None:
        self._path = os.fspath(path)
        self._kinds = list(kinds)
        self._over = threading.Event()
        self._socket: Optional[socket.socket] = None
        self._received = b""

    def close(self) -> None:
        self._over.set()
        connection = self._socket
        if connection is not None:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it was not connected any more

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        """Raises `PaymentError` when the agent refuses the subscription; silence is waited out."""
        backoff_s = FIRST_BACKOFF_S
        while not self._over.is_set():
            try:
                for event in self._one_connection():
                    backoff_s = FIRST_BACKOFF_S
                    yield event
            except (OSError, ValueError, _Broken):
                self._over.wait(backoff_s)
                backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)

    def _one_connection(self) -> Iterator[Event]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(self._path)
            self._socket, self._received = connection, b""
            try:
                subscribe = {"jsonrpc": "2.0", "id": 1, "method": "events.subscribe", "params": {"kinds": self._kinds}}
                ask = {"jsonrpc": "2.0", "id": 2, "method": "terminal.state", "params": {}}
                connection.sendall(json.dumps(subscribe).encode() + b"\n" + json.dumps(ask).encode() + b"\n")
                while not self._over.is_set():
                    event = _event(json.loads(self._line(connection)))
                    if event is not None:
                        yield event
            finally:
                self._socket = None

    def _line(self, connection: socket.socket) -> bytes:
        while b"\n" not in self._received:
            part = connection.recv(65536)
            if not part or len(self._received) > _MAX_LINE_BYTES:
                raise _Broken
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        return line


def _event(message: Any) -> Optional[Event]:
    """An event, or None for the answer to the subscription."""
    if not isinstance(message, dict):
        raise _Broken
    if "error" in message:
        raise Facts(message["error"]).as_error()
    if message.get("method") == "event":
        params = message["params"]
        return Event(params["kind"], params["at"], params["data"])
    return Event("state", None, message.get("result")) if message.get("id") == 2 else None
