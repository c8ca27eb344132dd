"""What is due at a target, and when something will be. Pure: times come in, a decision goes out."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from agent.backup.job import LARGEST_SEGMENT
from agent.contract.backup_views import BackupKind
from agent.store.backups import Standing

SOON_S: Final = 10.0
"""After a start: a snapshot that was missed is made then, and not while everything else begins."""
_UNSURE_S: Final = 3600.0
"""After a start with a clock that is behind the last snapshot: how old that is nobody knows."""


class Schedule(Struct, frozen=True):
    """When what is made, in seconds; and how many days, weeks and months keep a snapshot."""

    segment_entries: int
    segment_after_s: float
    snapshot_every_s: float
    keep_daily: int
    keep_weekly: int
    keep_monthly: int


class Due(Struct, frozen=True):
    """``kind``: to be made now; None: nothing, for ``wait_s`` seconds if no entry comes."""

    kind: BackupKind | None
    wait_s: float = 0.0


def first_snapshot_in_s(schedule: Schedule, standing: Standing, now_ms: int) -> float:
    """After a start: by the wall clock, which cannot be believed when the last one lies in the future.

    A terminal that begins each day with its clock far behind must not wait for a whole day then: it never has one.
    """
    if standing.snapshot_made_at_ms is None:
        return SOON_S
    age_s = (now_ms - standing.snapshot_made_at_ms) / 1000
    return max(SOON_S, schedule.snapshot_every_s - age_s) if age_s >= 0 else min(schedule.snapshot_every_s, _UNSURE_S)


def due(schedule: Schedule, standing: Standing, *, snapshot_in_s: float, waited_s: float) -> Due:
    """What is to be made.

    Args:
        snapshot_in_s: Until the next snapshot; past it, 0 or less.
        waited_s: Since the first entry was seen that no backup at this target has; of no meaning without any.
    """
    new = standing.last_entry - standing.covered_upto
    is_far_behind = standing.snapshot_made_at_ms is None and new > LARGEST_SEGMENT
    if snapshot_in_s <= 0 or is_far_behind:  # instead of many segments
        return Due("snapshot")
    if new <= 0:
        return Due(None, snapshot_in_s)
    left_s = schedule.segment_after_s - waited_s
    if new >= schedule.segment_entries or left_s <= 0:
        return Due("segment")
    return Due(None, min(snapshot_in_s, left_s))
