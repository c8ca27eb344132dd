"""SIGTERM and SIGINT: the wish that the process ends in order. In place from before the loop on.

Not `loop.add_signal_handler`: to refuse coroutines it imports `inspect`, half a megabyte that a daemon would hold for
ever; and not asyncio's own SIGINT, which cancels the main task wherever it stands.
"""

from __future__ import annotations

import asyncio
import signal
from types import FrameType


class StopSignals:
    """Takes both signals from now on; one that comes before anybody waits is not lost."""

    def __init__(self) -> None:
        self._came = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._take)

    async def wait(self) -> None:
        """Return at the first of the two signals, at once if it came already."""
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()
        if self._came:
            return
        await self._event.wait()

    def _take(self, _signum: int, _frame: FrameType | None) -> None:
        """Called by the interpreter between two instructions of the main thread; a loop that sleeps must be woken."""
        self._came = True
        if self._loop is not None and self._event is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)
