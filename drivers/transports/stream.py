"""A stream of bytes to one device. Transports implement it; drivers see nothing else. No protocol, no deadlines here.

Deadlines come from the caller's `asyncio.timeout`: a method may be cancelled at any await and leaves nothing behind.
After an error or a cancelled call the caller closes the stream, because what is on its way is not known.
"""

from __future__ import annotations

from typing import Protocol


class Stream(Protocol):
    """An open port. One caller at a time.

    Each method raises `DeviceGone` when the port is gone: unplugged, hung up, or closed.
    """

    async def read_some(self) -> bytes:
        """At least one byte, as soon as there is one."""
        ...

    async def read_exactly(self, count: int) -> bytes:
        """Exactly ``count`` bytes."""
        ...

    async def write(self, data: bytes) -> None:
        """Return once the port has taken all of ``data``. A port that stops draining makes it wait, nothing else."""
        ...

    def drain_input(self) -> bytes:
        """Take what has arrived already, without waiting; bounded, so that a babbling device cannot hold the caller."""
        ...

    def close(self) -> None:
        """Give the port up, at once and for good. Never raises, never waits."""
        ...


class Port(Protocol):
    """Something that can be opened again and again."""

    async def open(self) -> Stream:
        """Open it. Raises `DeviceGone` (no such port) or `PortUnusable` (there, but not for us)."""
        ...

    async def closed(self) -> None:
        """Return once nothing of an earlier `open` or `close` is under way in the background, or after a short wait."""
        ...
