"""Log events that peers can cause as often as they like: one of a kind a minute, with the number left out."""

from __future__ import annotations

import time
from typing import Final

import structlog

log = structlog.get_logger("local_api")

_EVERY_S: Final = 60.0


class SeldomLog:
    """Of one socket."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._told: dict[str, tuple[float, int]] = {}

    def tell(self, event: str, **fields: str | int) -> None:
        """Log a warning, or count it for the next one of its kind."""
        now_s = time.monotonic()
        last_s, left_out = self._told.get(event, (now_s - _EVERY_S, 0))
        if now_s - last_s < _EVERY_S:
            self._told[event] = (last_s, left_out + 1)
            return
        self._told[event] = (now_s, 0)
        log.warning(event, socket=self._socket, not_logged=left_out, **fields)
