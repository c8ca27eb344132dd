"""One JSON-RPC 2.0 conversation over payment.sock with a deadline over each whole call. Standard library only."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any, Final

MAX_FRAME_BYTES: Final = 256 * 1024
_MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
_KNOCK_AGAIN_S: Final = 0.005


class NoAnswer(Exception):
    """The agent is not there, did not answer in time, or what answers is not the agent."""


class Answered(Exception):
    """An error answer. ``error`` is its JSON-RPC object; ``at_the_door``: it belongs to no
    request: the connection was refused, or (``not_understood``) the agent could not read what was sent."""

    def __init__(self, error: dict[str, Any], *, at_the_door: bool) -> None:
        super().__init__(str(error.get("message", "refused")))
        self.error = error
        self.at_the_door = at_the_door
        self.not_understood = error.get("code") in (-32700, -32600)


class Connection:
    """Connects when needed. After any failure it is closed, so that a late answer can never be taken for another."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._socket: socket.socket | None = None
        self._next_id = 0

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def call(self, method: str, params: bytes, deadline_s: float) -> Any:
        """The result of one call.

        Args:
            params: As JSON.
            deadline_s: By ``time.monotonic()``. A connection that the agent closed meanwhile (its restart) is opened
                anew once, and the call made again: records may be repeated.

        Raises:
            NoAnswer, Answered: See there.
        """
        was_open = self._socket is not None
        try:
            return self._call(method, params, deadline_s)
        except OSError as err:
            self.close()
            if not was_open or isinstance(err, TimeoutError):
                raise _silent(err) from err
        try:
            return self._call(method, params, deadline_s)
        except OSError as err:
            self.close()
            raise _silent(err) from err

    def _call(self, method: str, params: bytes, deadline_s: float) -> Any:
        connection = self._socket or self._connect(deadline_s)
        self._next_id += 1
        frame = b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":%b}\n' % (self._next_id, method.encode(), params)
        refused = False
        try:
            connection.settimeout(_left(deadline_s))
            connection.sendall(frame)
        except (BrokenPipeError, ConnectionResetError):
            refused = True  # it may have said why before it closed
        try:
            answer = json.loads(self._read_line(connection, deadline_s))
        except (ValueError, RecursionError):
            self.close()
            raise NoAnswer("what answers at the socket is not the agent") from None
        error = answer.get("error") if isinstance(answer, dict) else None
        if isinstance(error, dict) and answer.get("id") is None:
            self.close()
            raise Answered(error, at_the_door=True)
        if not isinstance(answer, dict) or answer.get("id") != self._next_id or refused:
            self.close()
            raise NoAnswer("what answers at the socket is not the agent")
        if isinstance(error, dict):
            raise Answered(error, at_the_door=False)
        return answer.get("result")

    def _connect(self, deadline_s: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            while True:
                connection.settimeout(_left(deadline_s))
                try:
                    connection.connect(self._path)
                    break
                except BlockingIOError:  # so many knock that the queue is full
                    time.sleep(min(_KNOCK_AGAIN_S, _left(deadline_s)))
        except BaseException:
            connection.close()
            raise
        self._socket = connection
        return connection

    def _read_line(self, connection: socket.socket, deadline_s: float) -> bytes:
        received = bytearray()
        while not received.endswith(b"\n"):
            connection.settimeout(_left(deadline_s))
            part = connection.recv(65536)
            if not part:
                raise ConnectionResetError("the agent closed the connection")
            received += part
            if len(received) > _MAX_ANSWER_BYTES:
                raise ValueError("an answer without end")
        return bytes(received)


def _left(deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _silent(err: OSError) -> NoAnswer:
    if isinstance(err, TimeoutError):
        return NoAnswer("the agent did not answer in time")
    return NoAnswer(f"the agent cannot be reached: {err.strerror or type(err).__name__}")
