"""The agent, made to stand still at one of its journal points so that a test can kill it there from outside.

A journal point is a write of the workflow's and inbox's rows (``Worth.RUN``): "before" it is handed to the writer, and
"committed" when it is on disk but nobody in the agent knows yet. Points are found by running, not listed: each is told
on the datagram socket ``POINTS_SOCKET`` as
``<number> <what>``; at the one numbered ``HOLD_AT`` the process stops.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import Any

from agent.__main__ import main
from agent.store.database import Database, Worth

_points = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
_hold_at = int(os.environ.get("HOLD_AT", "-1"))
_count = 0
_counting = False


def _reach(what: str) -> None:
    global _count
    _count += 1
    _points.sendto(f"{_count} {what}".encode(), "\0" + os.environ["POINTS_SOCKET"])
    if _counting and _count == _hold_at:
        while True:
            signal.pause()


def _count_from_here(_signal: int, _frame: object) -> None:
    global _count, _counting
    _count, _counting = 0, True


def _trace() -> None:
    submit = Database.submit

    def traced(self: Database, job: Any, *, worth: Worth) -> asyncio.Future[Any]:
        if worth is not Worth.RUN:
            return submit(self, job, worth=worth)
        name = getattr(job, "__qualname__", type(job).__name__).replace("<locals>.", "")
        _reach(f"before {name}")
        future = submit(self, job, worth=worth)
        future.add_done_callback(lambda _done: _reach(f"committed {name}"))
        return future

    Database.submit = traced  # type: ignore[method-assign]


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _count_from_here)
    _trace()
    sys.exit(main(["run", *sys.argv[1:]]))
