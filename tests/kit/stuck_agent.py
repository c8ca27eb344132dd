"""The agent, with one loop that stops making progress: SIGUSR1 makes the part named by ``STUCK`` hang for good.

The parts' own promises are shortened to half a second: a test sees soon what systemd would see in half a minute.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Any

from agent.__main__ import main
from agent.commands.inbox import Inbox
from agent.health import monitor
from agent.store import writer
from agent.store.outbox import Outbox
from agent.uplink import inbound, publisher, session
from agent.uplink.link import Link
from agent.workflow import engine

_SOON_S = 0.5
_stuck = False
PLACES: dict[str, tuple[Any, str]] = {
    "engine": (engine.Engine, "_look"),
    "health": (monitor.Monitor, "_read_board"),
    "inbound": (Inbox, "receive"),
    "publisher": (Outbox, "waiting"),
    "uplink": (Link, "open"),
}


def _shorten() -> None:
    writer.STALLED_AFTER_S = _SOON_S  # type: ignore[misc]
    engine._PULSE_S = _SOON_S  # type: ignore[misc]
    monitor._ROUND_LIMIT_S = _SOON_S
    publisher._STORE_S = _SOON_S  # type: ignore[misc]
    session._OPENING_S = _SOON_S - 10.0  # type: ignore[misc]  # it is added to the broker's own 10 s
    assert inbound.Inbound.__init__.__kwdefaults__ is not None
    inbound.Inbound.__init__.__kwdefaults__["receive_limit_s"] = _SOON_S


def _make_hanging(kind: type, name: str) -> None:
    whole = getattr(kind, name)

    async def hanging(self: object, *args: object, **options: object) -> object:
        if _stuck:
            await asyncio.Event().wait()
        return await whole(self, *args, **options)

    setattr(kind, name, hanging)


def _make_writer_hang() -> None:
    whole = writer._perform

    def hanging(*args: Any) -> None:
        if _stuck:
            time.sleep(3600)
        whole(*args)

    writer._perform = hanging  # type: ignore[assignment]  # the same arguments, passed through


def _now(_signal: int, _frame: object) -> None:
    global _stuck
    _stuck = True
    if os.environ["STUCK"] == "the event loop":
        time.sleep(3600)


if __name__ == "__main__":
    _shorten()
    signal.signal(signal.SIGUSR1, _now)
    place = os.environ["STUCK"]
    if place == "store writer":
        _make_writer_hang()
    elif place in PLACES:
        _make_hanging(*PLACES[place])
    sys.exit(main(["run", *sys.argv[1:]]))
