"""Time as an argument: wall time stamps records, monotonic time measures. Tests move their own clock by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What every part that needs time is given."""

    def now(self) -> datetime:
        """Wall time, with offset UTC. May jump; never used to measure."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point of this boot; never jumps back."""
        ...

    async def sleep(self, duration_s: float) -> None:
        """Return after ``duration_s`` of monotonic time."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, duration_s: float) -> None:
        import asyncio  # noqa: PLC0415  # loaded already by whoever can await; children that only ask the time go without

        await asyncio.sleep(duration_s)


def rfc3339(at: datetime) -> str:
    """UTC with milliseconds and ``Z``, the form of every time the agent makes: ``2026-11-21T02:00:00.123Z``."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
