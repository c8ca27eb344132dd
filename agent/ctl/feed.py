"""A snapshot that is kept fresh over one connection which never blocks: for a screen that must go on taking keys.

All calls of a round are sent together and answered in any order. Where the agent tells of changes
(``events.subscribe``) a change begins a round, and rounds without one are rare; an older agent is asked every second.
A connection that is lost, or an agent that does not answer in time, is tried again for as long as anybody looks.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import msgspec

from agent.ctl import snapshot
from agent.ctl.client import (
    MAX_ANSWER_BYTES,
    AgentUnreachable,
    Answer,
    cannot_connect,
    read_answer,
    request_frame,
    rubbish,
    translated,
)
from agent.ctl.snapshot import Snapshot
from agent.errors import AgentError

KINDS = ("lock", "operation", "health", "readiness")
ASKED_EVERY_S = 1.0
TOLD_EVERY_S = 3.0  # with events: figures that no event tells of, such as the journal's length
_AFTER_EVENT_S = 0.2  # what changes together is asked for together
_RETRY_S = 1.0
_SUBSCRIBE = "events.subscribe"


class Feed:
    """``step`` whenever `wait_s` is over, ``receive`` whenever `fileno` can be read. Neither waits for anybody.

    ``snapshot`` is the latest; ``trouble`` why there is none newer, since ``trouble_since``, or None.
    """

    def __init__(
        self,
        path: Path,
        timeout_s: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.snapshot: Snapshot | None = None
        self.trouble: AgentError | None = None
        self.trouble_since: datetime | None = None
        self.told_of_changes = False
        self._path, self._timeout_s = path, timeout_s
        self._monotonic, self._now = monotonic, now
        self._connection: socket.socket | None = None
        self._unread = bytearray()
        self._next_id = 1
        self._pending: dict[int, str] = {}
        self._results: dict[str, msgspec.Raw] = {}
        self._due_s = monotonic()
        self._deadline_s = 0.0

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disconnect()

    def fileno(self) -> int | None:
        """What to wait for; None while there is no connection."""
        return None if self._connection is None else self._connection.fileno()

    def wait_s(self) -> float:
        """Until `step` has something to do."""
        until_s = self._deadline_s if self._pending else self._due_s
        return max(0.0, until_s - self._monotonic())

    def refresh(self) -> None:
        """Begin a round now, or as soon as the present one is over."""
        self._due_s = self._monotonic()

    def step(self) -> None:
        """Connect, ask, or give up, whichever is due."""
        now_s = self._monotonic()
        try:
            if self._pending:
                if now_s >= self._deadline_s:
                    raise AgentUnreachable(
                        f"the agent gave no answer within {self._timeout_s:g} s ({self._path})",
                        hint="see what it is doing: journalctl -u pos-agent -n 50",
                    )
            elif now_s >= self._due_s:
                self._ask(now_s)
        except AgentError as err:
            self._lose(err)

    def receive(self) -> None:
        """Take what came."""
        if self._connection is None:
            return
        try:
            chunk = self._read(self._connection)
            if chunk is None:
                return
            self._unread += chunk
            *lines, rest = bytes(self._unread).split(b"\n")
            self._unread = bytearray(rest)
            if len(rest) > MAX_ANSWER_BYTES:
                raise rubbish(self._path, "its answer has no end")
            for line in lines:
                self._take(read_answer(line, self._path))
        except AgentError as err:
            self._lose(err)

    def _read(self, connection: socket.socket) -> bytes | None:
        try:
            chunk = connection.recv(256 * 1024)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as err:
            raise self._broken(err) from err
        if chunk:
            return chunk
        raise AgentUnreachable(
            f"the agent closed the connection ({self._path})", hint="it may be stopping: systemctl status pos-agent"
        )

    def _ask(self, now_s: float) -> None:
        calls = dict(snapshot.CALLS)
        if self._connection is None:
            self._connection = self._connect()
            calls = {_SUBSCRIBE: {"kinds": KINDS}, **calls}
        frames = b""
        for method, params in calls.items():
            frames += request_frame(self._next_id, method, params) + b"\n"
            self._pending[self._next_id] = method
            self._next_id += 1
        self._results = {}
        self._deadline_s = now_s + self._timeout_s
        self._due_s = now_s + (TOLD_EVERY_S if self.told_of_changes else ASKED_EVERY_S)
        try:
            sent = self._connection.send(frames)
        except OSError as err:
            raise self._broken(err) from err
        if sent != len(frames):  # a socket holds two hundred times as much
            raise AgentUnreachable(f"the agent reads nothing ({self._path})", hint="systemctl status pos-agent")

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            connection.connect(os.fspath(self._path))
        except OSError as err:
            connection.close()
            raise cannot_connect(self._path, err) from err
        return connection

    def _take(self, answer: Answer) -> None:
        if answer.method is not None:
            self._due_s = min(self._due_s, self._monotonic() + _AFTER_EVENT_S)
            return
        method = self._pending.pop(answer.id, None) if isinstance(answer.id, int) else None
        if answer.error is not None and method == _SUBSCRIBE:  # it does not know of events: it is asked
            self.told_of_changes = False
        elif answer.error is not None and method in snapshot.NOT_ESSENTIAL:
            self._results[method or ""] = snapshot.UNKNOWN
        elif answer.error is not None:
            raise translated(answer.error, method or "the request")
        elif method is None:
            raise rubbish(self._path, "its answer belongs to no request of ours")
        elif method == _SUBSCRIBE:
            self.told_of_changes = True
        else:
            self._results[method] = answer.result
        if not self._pending:
            self.snapshot = snapshot.assemble(self._results, self._now())
            self.trouble = self.trouble_since = None

    def _lose(self, error: AgentError) -> None:
        self._disconnect()
        self.trouble = error
        self.trouble_since = self.trouble_since or self._now()
        self._due_s = self._monotonic() + _RETRY_S

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._unread.clear()
        self._pending.clear()
        self.told_of_changes = False

    def _broken(self, err: OSError) -> AgentUnreachable:
        return AgentUnreachable(
            f"the connection to {self._path} broke: {err.strerror or err}", hint="systemctl status pos-agent"
        )
