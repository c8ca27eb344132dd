"""What payment applications last said of themselves, and what follows of it. Pure: times are given, in seconds.

Source: the product's contract, "Leases" and "payment.sock". Each application speaks for itself. A configured one is
known by its unit; any other by its process, and is forgotten once that is gone and its word is stale, so that nobody
passing by can hold the terminal for ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from agent.contract.selling import STALE_AFTER_S, START_GRACE_S, AppStatus, Selling
from agent.errors import Refused
from agent.runtime.process_identity import Process

MOST_STRANGERS: Final = 256
STRANGERS: Final = "other_application"
"""Under this name all applications together that are not configured."""

Key = str | Process


class Word(Struct, frozen=True):
    """The latest status of one application; ``…_since_s`` is since when that has been so, None while it is not.

    Attributes:
        unit: The service that its process runs in; None outside of any.
        unfit_since_s: Not ready, or not signed in.
    """

    status: AppStatus
    unit: str | None
    at_s: float
    unfit_since_s: float | None
    reversals_since_s: float | None
    offline_since_s: float | None


class Applications:
    """All applications that this process of the agent has heard of, and the configured ones."""

    def __init__(self, configured: Mapping[str, str], is_alive: Callable[[Process], bool], *, began_s: float) -> None:
        """
        Args:
            configured: Unit → name of every application that the configuration names.
            is_alive: Whether that very process still runs.
            began_s: When the agent started.
        """
        self._configured = dict(configured)
        self._is_alive = is_alive
        self._began_s = began_s
        self._words: dict[Key, Word] = {}

    def report(self, process: Process, unit: str | None, status: AppStatus, now_s: float) -> None:
        """Take a status.

        Raises:
            Refused: ``TOO_MANY_APPLICATIONS``; a configured one is never refused.
        """
        key: Key = unit if unit in self._configured and unit is not None else process
        before = self._words.get(key)
        if before is None and isinstance(key, Process):
            self._make_room(now_s)
        self._words[key] = Word(
            status,
            unit,
            now_s,
            _since(not (status.ready and status.signed_in), before.unfit_since_s if before else None, now_s),
            _since(status.pending_reversals > 0, before.reversals_since_s if before else None, now_s),
            _since(status.saf_count > 0, before.offline_since_s if before else None, now_s),
        )

    def facts(self, now_s: float) -> Selling:
        """What operations must know of the applications; of leases nothing."""
        self._forget_gone(now_s)
        words = self._words.values()
        silent_s = [now_s - word.at_s for word in words if now_s - word.at_s > STALE_AFTER_S]
        start_left_s: float | None = None
        if self._configured.keys() - self._words.keys():
            start_left_s = self._began_s + START_GRACE_S - now_s
            if start_left_s <= 0:
                start_left_s = None
                silent_s.append(math.inf)
        return Selling(
            start_left_s=start_left_s,
            silent_s=min(silent_s, default=None),
            pending_reversals=sum(word.status.pending_reversals for word in words),
            unknown_results=sum(word.status.unknown_results for word in words),
            saf_count=sum(word.status.saf_count for word in words),
        )

    def last_report_s(self, unit: str) -> float | None:
        """When (monotonic) a process of ``unit`` last gave a status; None when none has."""
        return max((word.at_s for word in self._words.values() if word.unit == unit), default=None)

    def words(self) -> Iterator[tuple[str, str | None, Word | None]]:
        """Name, unit and latest word of every configured application; then all others, without a unit."""
        for unit, name in self._configured.items():
            yield name, unit, self._words.get(unit)
        for key, word in self._words.items():
            if isinstance(key, Process):
                yield STRANGERS, None, word

    def next_turn_s(self, now_s: float) -> float | None:
        """In how many seconds `facts` changes by itself at the earliest; None when only a report can change it."""
        ends_s = [word.at_s + STALE_AFTER_S for word in self._words.values()]
        if self._configured.keys() - self._words.keys():
            ends_s.append(self._began_s + START_GRACE_S)
        return min((end_s - now_s for end_s in ends_s if end_s >= now_s), default=None)

    def _make_room(self, now_s: float) -> None:
        self._forget_gone(now_s)
        if sum(isinstance(key, Process) for key in self._words) >= MOST_STRANGERS:
            raise Refused(
                "too many programs that are not configured have given a status",
                reason="TOO_MANY_APPLICATIONS",
                hint="name the payment application in [[application]] of the configuration",
                retry_after_s=STALE_AFTER_S,
            )

    def _forget_gone(self, now_s: float) -> None:
        gone = [
            key
            for key, word in self._words.items()
            if isinstance(key, Process) and now_s - word.at_s > STALE_AFTER_S and not self._is_alive(key)
        ]
        for key in gone:
            del self._words[key]


def _since(holds: bool, before_s: float | None, now_s: float) -> float | None:
    if not holds:
        return None
    return now_s if before_s is None else before_s
