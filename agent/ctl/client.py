"""One blocking JSON-RPC 2.0 conversation over the agent's control socket.

Every call has a deadline over its whole length. What can go wrong is told apart by what the caller can do: nobody
there (`AgentUnreachable`), not allowed (`Refused`), wrong parameters (`BadRequest`), the thing failed (`CallFailed`).
Plain `socket`: an event loop would cost more to import than a call takes.
"""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import msgspec

from agent.errors import AgentError, BadRequest, NotFound, Refused, Unavailable

DEFAULT_SOCKET = "/run/pos-agent/control.sock"
SOCKET_VARIABLE = "POS_AGENT_CONTROL_SOCKET"
DEFAULT_TIMEOUT_S = 10.0
SUPPORT_GROUP = "pos-support"
MAX_FRAME_BYTES = 64 * 1024  # what the agent takes on this socket
MAX_ANSWER_BYTES = 16 * 1024 * 1024
_WAITING_TOLD_EVERY_S = 0.25
_METHOD_NOT_FOUND, _INVALID_PARAMS = -32601, -32602
_NOT_A_REFUSAL = frozenset({"STORE_FULL", "STORE_UNAVAILABLE", "STORE_DAMAGED", "UNAVAILABLE", "AGENT_ERROR"})

Result = TypeVar("Result")


class AgentUnreachable(Unavailable):
    """Nobody answers at the socket, or what answers is not the agent."""

    code = "AGENT_UNREACHABLE"


class CallFailed(AgentError):
    """The agent answered that the thing itself failed. ``facts['agent_code']`` is its own code."""

    code = "CALL_FAILED"


class _ErrorData(msgspec.Struct, frozen=True):
    """``data`` of an error. Fields that a newer agent adds are passed over: a tool must not fail on being told more."""

    code: str = ""
    field: str | None = None
    hint: str | None = None


class ErrorMember(msgspec.Struct, frozen=True):
    code: int
    message: str = ""
    data: _ErrorData | None = None


class Answer(msgspec.Struct, frozen=True):
    """One line from the agent: the answer to a request, or a notification, which has a ``method``."""

    id: int | str | None = None
    result: msgspec.Raw = msgspec.Raw(b"")
    error: ErrorMember | None = None
    method: str | None = None  # a notification, which nobody here asked for


class ControlClient:
    """Connects at the first call and again after a failure. Use as a context manager.

    Args:
        waiting: Told now and then, while an answer lets wait for itself, since how many seconds.
    """

    def __init__(
        self,
        path: Path,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        *,
        waiting: Callable[[float], None] = lambda _elapsed_s: None,
    ) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._waiting = waiting
        self._socket: socket.socket | None = None
        self._unread = b""
        self._next_id = 1
        self._sent = False

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._unread = None, b""

    def call(self, method: str, params: Mapping[str, object] | None = None) -> msgspec.Raw:
        """The ``result`` of one call, as JSON.

        Raises:
            AgentUnreachable: Nobody there, no answer in time, or rubbish. ``facts["sent"]`` tells whether the request
                had left, so that what became of it is not known.
            Refused, BadRequest, NotFound, CallFailed: The agent's own answer.
        """
        deadline_s = time.monotonic() + self._timeout_s
        request_id, self._next_id = self._next_id, self._next_id + 1
        frame = request_frame(request_id, method, params)
        if len(frame) > MAX_FRAME_BYTES:
            raise BadRequest(f"the request is {len(frame)} bytes long; the agent takes {MAX_FRAME_BYTES} at most")
        self._sent = False
        try:
            answer = self._exchange(frame + b"\n", request_id, deadline_s)
        except TimeoutError as err:
            self.close()
            raise AgentUnreachable(
                f"the agent gave no answer to {method} within {self._timeout_s:g} s ({self._path})",
                hint="see what it is doing: journalctl -u pos-agent -n 50; a slow machine: --timeout SECONDS",
                sent=self._sent,
            ) from err
        except OSError as err:
            self.close()
            raise AgentUnreachable(
                f"the connection to {self._path} broke during {method}: {err.strerror or err}",
                hint="it may be restarting: try again, then systemctl status pos-agent",
                sent=self._sent,
            ) from err
        except AgentUnreachable as err:
            err.facts["sent"] = self._sent
            self.close()
            raise
        if answer.error is not None:
            raise translated(answer.error, method)
        return answer.result

    def fetch(self, method: str, shape: type[Result], params: Mapping[str, object] | None = None) -> Result:
        """`call`, decoded to ``shape``."""
        return decode(self.call(method, params), shape, method)

    def _exchange(self, frame: bytes, request_id: int, deadline_s: float) -> Answer:
        connection = self._socket
        if connection is None:
            connection = self._socket = self._connect(deadline_s)
        connection.settimeout(_left(deadline_s))
        self._sent = True  # even a broken send may have left the whole request with the agent
        connection.sendall(frame)
        while True:
            line = self._read_line(connection, deadline_s)
            answer = read_answer(line, self._path)
            if answer.method is not None:
                continue
            mine = answer.id == request_id or (answer.id is None and answer.error is not None)
            if not mine or (answer.error is None and not bytes(answer.result)):
                raise rubbish(self._path, "its answer belongs to no request of ours")
            return answer

    def _read_line(self, connection: socket.socket, deadline_s: float) -> bytes:
        chunks = [self._unread]
        size = len(self._unread)
        while b"\n" not in chunks[-1]:
            left_s = _left(deadline_s)
            connection.settimeout(min(left_s, _WAITING_TOLD_EVERY_S))
            try:
                chunk = connection.recv(65536)
            except TimeoutError:  # whether it is one for the call, too, is seen above
                self._waiting(self._timeout_s - left_s)
                continue
            if not chunk:
                raise AgentUnreachable(
                    f"the agent closed the connection without an answer ({self._path})",
                    hint="it may be stopping: try again, then systemctl status pos-agent",
                )
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise rubbish(self._path, "its answer has no end")
        line, _, self._unread = b"".join(chunks).partition(b"\n")
        return line

    def _connect(self, deadline_s: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(_left(deadline_s))
            connection.connect(os.fspath(self._path))
        except OSError as err:
            connection.close()
            if isinstance(err, TimeoutError):
                raise
            raise cannot_connect(self._path, err) from err
        return connection


def decode(raw: msgspec.Raw, shape: type[Result], method: str) -> Result:
    """A result as ``shape``.

    Raises:
        AgentUnreachable: It has another form: the other side is no agent of a version this program knows.
    """
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.DecodeError as err:
        raise AgentUnreachable(
            f"the answer to {method} is not of the form this posctl knows: {err}",
            hint="posctl and the agent should be of one version: posctl --version, pos-agent version",
        ) from err


def read_answer(line: bytes, path: Path) -> Answer:
    """One line as an answer or a notification.

    Raises:
        AgentUnreachable: It is neither.
    """
    try:
        return msgspec.json.decode(line, type=Answer)
    except msgspec.DecodeError as err:
        raise rubbish(path, "its answer is not JSON-RPC") from err


def request_frame(request_id: int, method: str, params: Mapping[str, object] | None) -> bytes:
    """One request as JSON, its newline not included."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params or {}})


def _left(deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def rubbish(path: Path, what: str) -> AgentUnreachable:
    """Something else than the agent answers at ``path``."""
    return AgentUnreachable(
        f"what answers at {path} is not pos-agent: {what}", hint="is --socket the agent's control.sock?"
    )


def cannot_connect(path: Path, err: OSError) -> AgentError:
    """Why there is no connection, and what to do about it."""
    elsewhere = f"its socket may be elsewhere: --socket PATH or {SOCKET_VARIABLE}"
    match err.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return AgentUnreachable(
                f"there is no socket at {path}", hint=f"is the agent running? systemctl status pos-agent; {elsewhere}"
            )
        case errno.ECONNREFUSED | errno.ENOTSOCK | errno.EPROTOTYPE:
            return AgentUnreachable(
                f"nobody listens at {path}", hint=f"has the agent stopped? systemctl status pos-agent; {elsewhere}"
            )
        case errno.EACCES | errno.EPERM:
            group = _group_of(path)
            return Refused(
                f"you may not use {path}: it is for root and members of the group {group}",
                hint=f"sudo usermod -aG {group} YOUR-USER, then log in again; or run posctl with sudo",
            )
        case None:  # the address itself is impossible: longer than the kernel takes, or holds a zero byte
            return BadRequest("the socket path is too long (107 bytes at most) or not a path", field="--socket")
        case _:
            return AgentUnreachable(f"cannot connect to {path}: {err.strerror}", hint="systemctl status pos-agent")


def _group_of(path: Path) -> str:
    """The group that may use the socket; the product's own when this user may not look, or no group may."""
    try:
        facts = path.stat()
        return grp.getgrgid(facts.st_gid).gr_name if facts.st_mode & stat.S_IWGRP else SUPPORT_GROUP
    except (OSError, KeyError):
        return SUPPORT_GROUP


def translated(error: ErrorMember, method: str) -> AgentError:
    """The agent's refusal of ``method`` by what the caller can do about it."""
    data = error.data or _ErrorData()
    message = error.message or f"{method} was answered with error {error.code}"
    if error.code == _METHOD_NOT_FOUND:
        return CallFailed(
            f"this agent does not know {method}",
            hint="it is older than this posctl: compare posctl --version with pos-agent version",
            agent_code=data.code or "METHOD_NOT_FOUND",
        )
    if data.code == NotFound.code:
        return NotFound(message, field=data.field, hint=data.hint)
    if error.code == _INVALID_PARAMS:
        return BadRequest(message, field=data.field, hint=data.hint)
    if error.code == -32000 and data.code and data.code not in _NOT_A_REFUSAL:
        return Refused(message, reason=data.code, field=data.field, hint=data.hint)
    return CallFailed(message, field=data.field, hint=data.hint, agent_code=data.code or str(error.code))
