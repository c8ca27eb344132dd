"""The agent as a unit of the supervisor, stopped at each of its journal points until a test lets it go on.

Like ``held_agent.py``, but points are counted by the test, which keeps counting over any number of lives: a reboot is
one order and two processes. Each point is a line ``<pid> <what>`` on the stream socket ``STEPS_SOCKET``; the process
goes on when it is answered, and is killed instead when the test says so.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import Any

from agent.__main__ import main
from agent.store.database import Database, Worth

_steps = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def _reach(what: str) -> None:
    _steps.sendall(f"{os.getpid()} {what}\n".encode())
    if not _steps.recv(1):
        os._exit(70)  # nobody counts any more


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
    _steps.connect(os.environ["STEPS_SOCKET"])
    _trace()
    sys.exit(main(["run", *sys.argv[1:]]))
