"""For how long entries have been on this medium alone: figures for the metrics, and a fault when it is too long.

A medium that dies takes along what has no copy, so what is not protected yet is known, counted and alarmed, also where
nothing is configured that could copy it. How long an entry has waited is measured by the monotonic clock from the
moment it was seen; for entries of before this process by their own times, with the wall clock only where it is trusted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from agent.errors import StoreUnavailable
from agent.runtime.clock import Clock
from agent.store.database import Database
from agent.store.protection import Protection, protection
from agent.workflow.wake_up import wait_for

log = structlog.get_logger("health")

UNPROTECTED: Final = "TXN-JRN-003"
BETWEEN_LOOKS_S: Final = 1.0
"""However much is recorded, the journal is not asked more often."""
AGAIN_S: Final = 60.0
"""After the journal could not be read."""
_SLACK_S: Final = 0.05
_MOST_SEEN: Final = 64

Report = Callable[[str, str, bool, str], None]
"""Code, device, active, detail; as `Monitor.report`."""


class Waiting:
    """Since when entries have waited. Pure: times are given. Never says less than it is, but for one look's time."""

    def __init__(self, found: Protection, now_s: float, now_ms: int | None) -> None:
        """
        Args:
            found: What was there when the process began.
            now_ms: The wall clock, where it is trusted; else the newest entry counts as stored right now.
        """
        self._found_last = found.last
        self._began_s = now_s
        self._began_ms = found.last_ms if now_ms is None else now_ms
        self._unseen_upto = found.last
        self._seen: list[tuple[int, float]] = []  # entries up to here were first seen at that monotonic time

    def look(self, now: Protection, now_s: float) -> float | None:
        """Take what is there now; since when (monotonic) the oldest unprotected one has waited, None: there is none."""
        if now.last > (self._seen[-1][0] if self._seen else self._unseen_upto):
            self._seen.append((now.last, now_s))
        while self._seen and (not now.oldest or self._seen[0][0] < now.oldest):
            self._unseen_upto = self._seen.pop(0)[0]
        if not now.oldest:
            return None
        if now.oldest <= self._unseen_upto:  # of before this process, or its copy is gone again: by its own time
            since_s = self._began_s - (self._began_ms - now.oldest_ms) / 1000
            return min(since_s, self._began_s if now.oldest <= self._found_last else now_s)
        if len(self._seen) > _MOST_SEEN:  # two neighbours count as seen when the earlier one was
            pairs = zip(self._seen[::2], self._seen[1::2], strict=False)
            left = self._seen[-1:] if len(self._seen) % 2 else []
            self._seen = [(upto, since_s) for (_, since_s), (upto, _) in pairs] + left
        return self._seen[0][1]


class ProtectionWatch:
    """A service. It sleeps while nothing waits for a copy, and until the next thing could be too old."""

    name = "protection"

    def __init__(
        self,
        database: Database,
        clock: Clock,
        report: Report,
        *,
        fault_after_s: float,
        is_copied: bool,
        is_trusted: Callable[[], bool],
    ) -> None:
        """
        Args:
            is_copied: Something is configured that could copy entries: a place for backups, or the uplink's upload.
            is_trusted: Whether the wall clock can be believed.
        """
        self._database = database
        self._clock = clock
        self._report = report
        self._fault_after_s = fault_after_s
        self._why = "" if is_copied else ": nothing is configured that copies them ([[backup.folder]] or [uplink])"
        self._is_trusted = is_trusted
        self._news = asyncio.Event()
        self._waiting: Waiting | None = None
        self._now: Protection | None = None
        self._since_s: float | None = None
        database.after_transactions(self._news.set)
        database.after_commit(self._news.set)

    async def run(self) -> None:
        """Look whenever something was stored or copied, until cancelled."""
        while True:
            self._news.clear()
            try:
                await self.look()
            except StoreUnavailable as err:
                log.warning("protection.not_looked_at", code=err.code)
                due_s: float | None = AGAIN_S
            else:
                due_s = self._due_in_s()
            if due_s is None or due_s > BETWEEN_LOOKS_S:
                await wait_for(self._news, self._clock, due_s)
            await self._clock.sleep(BETWEEN_LOOKS_S)

    async def look(self) -> None:
        """Ask the journal, and report what follows.

        Raises:
            StoreUnavailable: The journal cannot be read now.
        """
        self._now = now = await self._database.read(protection)
        now_s = self._clock.monotonic()
        if self._waiting is None:
            now_ms = round(self._clock.now().timestamp() * 1000) if self._is_trusted() else None
            self._waiting = Waiting(now, now_s, now_ms)
        self._since_s = self._waiting.look(now, now_s)
        is_old = self._since_s is not None and now_s - self._since_s >= self._fault_after_s
        limit = _text(self._fault_after_s)
        what = f"from sequence {now.oldest} on entries have been on this medium alone for over {limit}"
        self._report(
            UNPROTECTED, "journal", is_old, what + self._why if is_old else "every entry that is old has a copy"
        )

    def figures(self) -> Mapping[str, int | float]:
        """For the metrics' group ``store``; empty before the first look."""
        if self._now is None:
            return {}
        age_s = 0.0 if self._since_s is None else self._clock.monotonic() - self._since_s
        return {
            "unprotected_entries": self._now.unprotected,
            "oldest_unprotected_age_s": round(age_s, 1),
            "backed_up_upto": self._now.marks.backed_up,
            "delivered_upto": self._now.marks.delivered,
        }

    def _due_in_s(self) -> float | None:
        """Until the oldest entry is too old; None when that has come already, or nothing waits."""
        if self._since_s is None:
            return None
        left_s = self._since_s + self._fault_after_s - self._clock.monotonic()
        return left_s + _SLACK_S if left_s > 0 else None


def _text(duration_s: float) -> str:
    return f"{duration_s / 60:.0f} min" if duration_s >= 120 else f"{duration_s:g} s"
