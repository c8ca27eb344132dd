"""What is due at a target: segments by number and by waiting, snapshots by the day, whatever the clock says."""

from __future__ import annotations

import pytest

from agent.backup.due import SOON_S, Due, Schedule, due, first_snapshot_in_s
from agent.backup.job import LARGEST_SEGMENT
from agent.store.backups import Standing

SCHEDULE = Schedule(5, 3600.0, 86400.0, 7, 4, 12)
DAY_MS = 86_400_000
NOW_MS = 1_795_000_000_000


@pytest.mark.parametrize(
    ("made_at_ms", "in_s"),
    [
        (None, SOON_S),
        (NOW_MS, 86400.0),
        (NOW_MS - DAY_MS // 2, 43200.0),
        (NOW_MS - 40 * DAY_MS, SOON_S),
        (
            NOW_MS + 900 * DAY_MS,
            3600.0,
        ),  # the clock fell back, perhaps at every start of a terminal that is off at night
    ],
)
def test_after_a_start_a_snapshot_comes_when_its_day_is_over(made_at_ms: int | None, in_s: float) -> None:
    assert first_snapshot_in_s(SCHEDULE, Standing(0, 0, made_at_ms, made_at_ms), NOW_MS) == in_s


@pytest.mark.parametrize(
    ("covered", "last", "snapshot_in_s", "waited_s", "expected"),
    [
        (10, 10, 9000.0, 0.0, Due(None, 9000.0)),
        (10, 12, 9000.0, 0.0, Due(None, 3600.0)),
        (10, 12, 9000.0, 3000.0, Due(None, 600.0)),
        (10, 12, 100.0, 3000.0, Due(None, 100.0)),
        (10, 12, 9000.0, 3600.0, Due("segment")),
        (10, 15, 9000.0, 0.0, Due("segment")),
        (10, 10, 0.0, 0.0, Due("snapshot")),
        (10, 15, -5.0, 9999.0, Due("snapshot")),
        (0, LARGEST_SEGMENT + 1, 9000.0, 0.0, Due("segment")),
        (12, 10, 9000.0, 9999.0, Due(None, 9000.0)),
    ],
)
def test_what_is_due(covered: int, last: int, snapshot_in_s: float, waited_s: float, expected: Due) -> None:
    standing = Standing(covered, last, NOW_MS, NOW_MS)
    assert due(SCHEDULE, standing, snapshot_in_s=snapshot_in_s, waited_s=waited_s) == expected


def test_a_place_that_has_nothing_of_a_long_journal_begins_with_a_snapshot() -> None:
    far_behind = Standing(0, LARGEST_SEGMENT + 1, None, None)
    assert due(SCHEDULE, far_behind, snapshot_in_s=9000.0, waited_s=0.0) == Due("snapshot")
    near = Standing(0, LARGEST_SEGMENT, None, None)
    assert due(SCHEDULE, near, snapshot_in_s=9000.0, waited_s=0.0) == Due("segment")
