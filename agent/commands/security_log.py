"""What nobody entitled tried: counted, logged, reported as a fault, and told by at most one event a minute and code.

Nothing that was sent is repeated, only which kind of wrong it was and how often. A flood costs one row a minute.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from agent.contract import topics
from agent.contract.publication import Publication
from agent.contract.security_event import EVENT_KIND, SecurityEvent, SecurityEventData
from agent.errors import StoreFull, StoreUnavailable
from agent.runtime.clock import Clock, rfc3339
from agent.runtime.identifiers import uuid7
from agent.store import outbox
from agent.store.database import Database, Worth

log = structlog.get_logger("commands")

EVENT_INTERVAL_S: Final = 60.0
BAD_SIGNATURE: Final = "SEC-SIG-001"
REPLAY: Final = "SEC-RPL-001"
REFUSED_CALLER: Final = "SEC-AUT-001"
_PART: Final = "orders"  # of the agent, as faults name it

Report = Callable[[str, str, bool, str], None]


class SecurityLog:
    """``report(code, device, active, detail)`` tells the health room; those faults age out by themselves."""

    def __init__(self, database: Database, clock: Clock, address: topics.Address, report: Report) -> None:
        self._database = database
        self._clock = clock
        self._address = address
        self._report = report
        self._untold: dict[str, Counter[str]] = {}
        self._told_at_s: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        """Since start, by code: for the metrics."""
        self.noted = asyncio.Event()
        """Set by every note."""

    def note(self, code: str, cause: str) -> None:
        """Count one; ``cause`` is one of our own words."""
        self._untold.setdefault(code, Counter())[cause] += 1
        self.counts[code] += 1
        self.noted.set()

    async def tell_due(self) -> float | None:
        """Tell what may be told now. Returns after how many seconds more may be; None when nothing is left."""
        soonest: float | None = None
        for code in list(self._untold):
            wait_s = self._told_at_s.get(code, -EVENT_INTERVAL_S) + EVENT_INTERVAL_S - self._clock.monotonic()
            if wait_s <= 0 and await self._tell(code):
                continue
            soonest = min(wait_s if wait_s > 0 else EVENT_INTERVAL_S, soonest or EVENT_INTERVAL_S)
        return soonest

    async def _tell(self, code: str) -> bool:
        causes, now = self._untold.pop(code), self._clock.now()
        detail = ", ".join(f"{cause} {count}" for cause, count in sorted(causes.items()))
        self._told_at_s[code] = self._clock.monotonic()
        log.warning("order.refused_unseen", code=code, count=causes.total(), causes=dict(causes))
        self._report(code, _PART, True, detail)
        event = SecurityEvent(
            id=uuid7(),
            source=self._address.topic("").rstrip("/"),  # as in events of faults
            subject=_PART,
            time=rfc3339(now),
            data=SecurityEventData(code, causes.total(), dict(causes)),
        )
        publication = Publication(topics.event(EVENT_KIND), msgspec.json.encode(event))
        try:
            await self._database.write(lambda db: outbox.put(db, publication, now), worth=Worth.RUN)
        except (StoreFull, StoreUnavailable):
            self._untold.setdefault(code, Counter()).update(causes)  # told with the next ones
            return False
        return True
