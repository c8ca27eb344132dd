"""The latest readings, in memory: published in batches at QoS 0, never stored. While offline nothing piles up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import structlog

from agent.contract.link_messages import Value
from agent.contract.publication import HARD_LIMIT_BYTES, Publication
from agent.runtime.clock import Clock, rfc3339
from agent.uplink.messages import batch

log = structlog.get_logger("uplink")

MAX_GROUPS: Final = 64
MAX_VALUES: Final = 256


class Gauges:
    """Latest wins. Groups and names come from code and model files, so there are few; the bounds catch a mistake."""

    def __init__(
        self,
        clock: Clock,
        *,
        interval_s: float = 60.0,
        sources: Mapping[str, Callable[[], Mapping[str, Value]]] | None = None,
    ) -> None:
        """``sources``: groups that nobody sets, because they are read whenever somebody asks; this costs no timer."""
        self.interval_s = interval_s
        self._sources = dict(sources or {})
        self.left_out = 0
        self._clock = clock
        self._values: dict[str, dict[str, Value]] = {}
        self._changed_at: dict[str, datetime] = {}

    def set(self, group: str, values: Mapping[str, Value]) -> None:
        """Take readings of one group (host, store, agent, or a device's name); others keep their last value."""
        known = self._values.get(group, {})
        fresh = {**known, **values}
        if len(fresh) > MAX_VALUES or (not known and len(self._values) >= MAX_GROUPS):
            self._leave_out(group)
            return
        self._values[group] = fresh
        self._changed_at[group] = self._clock.now()

    def latest(self) -> Mapping[str, Mapping[str, Value]]:
        """Everything known, group by group, published or not."""
        self._read_sources()
        return self._values

    def fresh(self) -> list[tuple[str, Publication]]:
        """A batch for each group with readings that were not published yet."""
        self._read_sources()
        batches = []
        for group, at in list(self._changed_at.items()):
            publication = batch(group, self._values[group], rfc3339(at))
            if len(publication.payload) > HARD_LIMIT_BYTES:
                self._leave_out(group)
                del self._changed_at[group]
                continue
            batches.append((group, publication))
        return batches

    def published(self, group: str) -> None:
        """The batch from `fresh` was sent."""
        self._changed_at.pop(group, None)

    def _read_sources(self) -> None:
        for group, read in self._sources.items():
            self.set(group, read())

    def _leave_out(self, group: str) -> None:
        if self.left_out == 0:
            log.error("gauges.too_many", group=group, max_groups=MAX_GROUPS, max_values=MAX_VALUES)
        self.left_out += 1
