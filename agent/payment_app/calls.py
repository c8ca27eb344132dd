"""Calls other than records: one at a time on a connection of their own, so that no record keeps them waiting."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any, Union

from agent.payment_app.answers import Facts
from agent.payment_app.connection import Answered, Connection, NoAnswer
from agent.payment_app.errors import AgentSilent

Path = Union[str, "os.PathLike[str]"]


class Held:
    """A lock, waited for no longer than the deadline; True when it was had."""

    def __init__(self, lock: threading.Lock, deadline_s: float) -> None:
        self._lock = lock
        self._deadline_s = deadline_s
        self._held = False

    def __enter__(self) -> bool:
        self._held = self._lock.acquire(timeout=max(0.0, self._deadline_s - time.monotonic()))
        return self._held

    def __exit__(self, *_: object) -> None:
        if self._held:
            self._lock.release()


class Calls:
    """May be used by several threads. Connects by itself, now and after every restart of the agent."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        """``timeout_s``: the longest that any call takes."""
        self._connection = Connection(path)
        self.timeout_s = timeout_s
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connection; a further call connects again."""
        with self._lock:
            self._connection.close()

    def call(self, method: str, **params: Any) -> Any:
        """The result of one call.

        Raises:
            AgentSilent: Nobody there, or no answer in time.
            PaymentError: The agent refused; its subclass and ``code`` say why.
        """
        deadline_s = time.monotonic() + self.timeout_s
        with Held(self._lock, deadline_s) as held:
            if not held:
                raise AgentSilent("the agent is busy with another call of this program", code="NO_ANSWER")
            try:
                return self._connection.call(method, json.dumps(params).encode(), deadline_s)
            except NoAnswer as err:
                raise AgentSilent(str(err), code="NO_ANSWER", hint="go on selling; ask again later") from err
            except Answered as err:
                raise Facts(err.error).as_error() from None
