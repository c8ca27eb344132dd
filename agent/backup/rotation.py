"""Which backups of one target may go: grandfather, father, son. Pure.

Of each journal the last snapshot of so many days, weeks and months is kept, counted over days that have one, so that a
terminal that was off, or whose clock jumped, loses nothing by that. Only what was verified counts. Segments are kept
from the oldest daily snapshot on: from each of those the journal can be followed to now; an older snapshot is followed
by a later snapshot, which holds everything that the one before does.
With one daily snapshot alone, segments stay, too: one copy is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Final, NamedTuple

from msgspec import Struct


class Kept(NamedTuple):
    """How many days, weeks and months keep their last snapshot; at least the newest one of all is always kept."""

    daily: int
    weekly: int
    monthly: int


class Snapshot(Struct, frozen=True):
    """``verified``: its last look found it right. ``made_on``: the day in UTC."""

    backup_id: str
    journal_id: str
    upto_seq: int
    made_on: date
    verified: bool


class Segment(Struct, frozen=True):
    """A segment holds the entries up to ``upto_seq``."""

    backup_id: str
    journal_id: str
    upto_seq: int


_BUCKETS: Final[Sequence[Callable[[date], object]]] = (
    lambda day: day,
    lambda day: day.isocalendar()[:2],
    lambda day: (day.year, day.month),
)


def removable(snapshots: Iterable[Snapshot], segments: Iterable[Segment], kept: Kept) -> set[str]:
    """Ids of the backups that may be removed.

    A journal without any verified snapshot keeps everything.
    """
    snapshots, segments = list(snapshots), list(segments)
    gone: set[str] = set()
    for journal_id in {one.journal_id for one in snapshots}:
        own = [one for one in snapshots if one.journal_id == journal_id]
        own.sort(key=lambda one: (one.upto_seq, one.made_on, one.backup_id), reverse=True)
        verified = [one for one in own if one.verified]
        if not verified:
            continue
        daily, weekly, monthly = (
            _last_of_each(verified, bucket, count) for bucket, count in zip(_BUCKETS, kept, strict=True)
        )
        stay = {verified[0].backup_id, *(one.backup_id for one in (*daily, *weekly, *monthly))}
        newest_upto = verified[0].upto_seq
        gone |= {
            one.backup_id for one in own if one.backup_id not in stay and (one.verified or one.upto_seq <= newest_upto)
        }
        if len(daily) >= min(kept.daily, 2):
            follow_from = min(one.upto_seq for one in (verified[0], *daily))
            gone |= {one.backup_id for one in segments if one.journal_id == journal_id and one.upto_seq <= follow_from}
    return gone


def _last_of_each(newest_first: Sequence[Snapshot], bucket: Callable[[date], object], count: int) -> list[Snapshot]:
    seen: dict[object, Snapshot] = {}
    for one in newest_first:
        if len(seen) < count:
            seen.setdefault(bucket(one.made_on), one)
    return list(seen.values())
