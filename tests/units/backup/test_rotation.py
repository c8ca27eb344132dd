"""The rotation: what it may never remove, whatever there is; and the grandfather-father-son of a plain case."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from agent.backup.rotation import Kept, Segment, Snapshot, removable

DAY = date(2026, 11, 21)
KEPT = st.builds(Kept, st.integers(1, 9), st.integers(0, 5), st.integers(0, 5))


@st.composite
def backups(draw: st.DrawFn) -> tuple[list[Snapshot], list[Segment]]:
    """Two journals; snapshots at any time of any clock, segments that meet."""
    snapshots, segments = [], []
    for journal in ("a", "b"):
        for number in range(draw(st.integers(0, 12))):
            made_on = DAY + timedelta(days=draw(st.integers(-20000, 900)))
            upto = draw(st.integers(0, 60))
            snapshots.append(Snapshot(f"{journal}s{number}", journal, upto, made_on, draw(st.booleans())))
        upto = 0
        for number in range(draw(st.integers(0, 20))):
            upto += draw(st.integers(1, 5))
            segments.append(Segment(f"{journal}g{number}", journal, upto))
    return snapshots, segments


@given(backups(), KEPT)
def test_the_newest_verified_snapshot_of_each_journal_always_stays(
    given_: tuple[list[Snapshot], list[Segment]], kept: Kept
) -> None:
    snapshots, segments = given_
    gone = removable(snapshots, segments, kept)
    for journal in ("a", "b"):
        verified = [one for one in snapshots if one.journal_id == journal and one.verified]
        newest = max((one.upto_seq for one in verified), default=None)
        if newest is None:
            assert not [one for one in gone if one.startswith(journal)]
        else:
            assert any(one.upto_seq == newest and one.backup_id not in gone for one in verified)


@given(backups(), KEPT)
def test_from_each_snapshot_kept_for_its_day_the_segments_lead_to_now(
    given_: tuple[list[Snapshot], list[Segment]], kept: Kept
) -> None:
    snapshots, segments = given_
    gone = removable(snapshots, segments, kept)
    for journal in ("a", "b"):
        verified = [one for one in snapshots if one.journal_id == journal and one.verified]
        verified.sort(key=lambda one: (one.upto_seq, one.made_on, one.backup_id), reverse=True)
        days: dict[date, Snapshot] = {}
        for one in verified:
            if len(days) < kept.daily:
                days.setdefault(one.made_on, one)
        for snapshot in days.values():
            assert snapshot.backup_id not in gone
            needed = [one for one in segments if one.journal_id == journal and one.upto_seq > snapshot.upto_seq]
            assert not gone & {one.backup_id for one in needed}


@given(backups(), KEPT)
def test_a_second_rotation_finds_nothing_to_do(given_: tuple[list[Snapshot], list[Segment]], kept: Kept) -> None:
    snapshots, segments = given_
    gone = removable(snapshots, segments, kept)
    left = [one for one in snapshots if one.backup_id not in gone]
    assert not removable(left, [one for one in segments if one.backup_id not in gone], kept)


@given(backups(), KEPT)
def test_an_unverified_snapshot_goes_only_where_a_verified_one_holds_as_much(
    given_: tuple[list[Snapshot], list[Segment]], kept: Kept
) -> None:
    snapshots, segments = given_
    gone = removable(snapshots, segments, kept)
    for one in snapshots:
        if one.backup_id in gone and not one.verified:
            left = [
                other
                for other in snapshots
                if other.journal_id == one.journal_id and other.verified and other.backup_id not in gone
            ]
            assert any(other.upto_seq >= one.upto_seq for other in left)


def test_days_weeks_and_months_of_a_year_of_daily_snapshots() -> None:
    snapshots = [Snapshot(str(n), "a", n * 100, DAY - timedelta(days=400 - n), verified=True) for n in range(401)]
    segments = [Segment(f"g{n}", "a", n * 10) for n in range(1, 4010)]
    gone = removable(snapshots, segments, Kept(7, 4, 12))
    stay = [one.made_on for one in snapshots if one.backup_id not in gone]
    assert stay[-7:] == [DAY - timedelta(days=n) for n in range(6, -1, -1)]
    assert date(2026, 11, 8) in stay  # the last Sundays
    assert date(2026, 11, 1) in stay
    assert [date(2026, month, 28 if month == 2 else 30 if month in (4, 6, 9) else 31) for month in range(1, 11)] == [
        day for day in stay if day.month < 11 and day.year == 2026
    ]
    assert min(one.upto_seq for one in segments if one.backup_id not in gone) == (400 - 6) * 100 + 10


def test_with_one_daily_snapshot_alone_the_segments_stay() -> None:
    snapshots = [Snapshot("new", "a", 50, DAY, verified=True), Snapshot("old", "a", 40, DAY, verified=True)]
    assert removable(snapshots, [Segment("g", "a", 10)], Kept(7, 4, 12)) == {"old"}
    assert removable(snapshots, [Segment("g", "a", 10)], Kept(1, 0, 0)) == {"old", "g"}
