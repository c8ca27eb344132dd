"""Received messages wait here, and the socket is not read while too many do: the broker keeps the rest.

A Receive Maximum is a hint that brokers overrun, so the bound on memory is TCP's own back-pressure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from agent.uplink.broker import Received

HIGH_MESSAGES: Final = 64
LOW_MESSAGES: Final = 16
HIGH_BYTES: Final = 512 * 1024
LOW_BYTES: Final = 128 * 1024


class InboundQueue(asyncio.Queue["Received | None"]):
    """An ``asyncio.Queue`` with water marks on count and bytes; ``None`` in it means that the link is gone."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        self.bytes_waiting = 0
        self.paused = False
        self._pause: Callable[[], None] = _nothing
        self._resume: Callable[[], None] = _nothing

    def attach(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Say what stops and starts reading."""
        self._pause, self._resume = pause, resume

    def _put(self, item: Received | None) -> None:
        super()._put(item)
        if item is None:
            return
        self.bytes_waiting += len(item.payload)
        if not self.paused and (self.qsize() >= HIGH_MESSAGES or self.bytes_waiting >= HIGH_BYTES):
            self.paused = True
            self._pause()

    def _get(self) -> Received | None:
        item: Received | None = super()._get()
        if item is not None:
            self.bytes_waiting -= len(item.payload)
        if self.paused and self.qsize() <= LOW_MESSAGES and self.bytes_waiting <= LOW_BYTES:
            self.paused = False
            self._resume()
        return item


def _nothing() -> None:
    """Before the link is up there is nothing to pause."""
