"""Whatever files there are, overlapping, missing, damaged, of a branch given up: what comes back is right, or named."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.backup.lineage import Lineage, find_lineage
from agent.backup.restore_plan import Plan, Until
from agent.backup.restoring import Restored, Restoring, Wanted
from agent.errors import NeedsPerson, NotFound
from agent.store.building import scratch
from agent.store.restored_rows import Gap
from agent.store.schema import migrations
from tests.units.backup.chained_files import (
    BASE,
    END_1,
    END_2,
    J1,
    J2,
    File,
    chain_of,
    lineage_of,
    source_of,
    stored_at,
)

NOW = datetime(2026, 11, 25, tzinfo=UTC)
EVERYTHING = Until()
Stored = dict[int, bytes]


def restored(files: list[File], until: Until = EVERYTHING, journal_id: str = J2) -> tuple[Restored, Stored]:
    """The result, and hash by sequence of what is in the database."""
    lineage = Lineage(lineage_of(journal_id), ())
    wanted = Wanted(source_of(files), [one.piece for one in files], lineage, until)
    with scratch(NOW, migrations()) as db:
        db.execute("BEGIN")
        result = Restoring(db, wanted, lambda _done, _total: None).restore(NOW, "SN1")
        rows = db.execute("SELECT sequence, hash FROM entries").fetchall()
        assert db.execute("SELECT from_seq, upto_seq FROM missing").fetchall() == [tuple(gap) for gap in result.missing]
    return result, dict(rows)


def limit(file: File, until: int) -> int:
    return min(file.last, until, BASE if file.journal_id == J1 else END_2)


@st.composite
def some_files(draw: Any) -> list[File]:
    made = []
    for copy in range(draw(st.integers(1, 9))):
        journal_id = draw(st.sampled_from([J1, J2]))
        last = draw(st.integers(1, END_1 if journal_id == J1 else END_2))
        kind = draw(st.sampled_from(["segment", "segment", "snapshot"]))
        first = 1 if kind == "snapshot" else draw(st.integers(1, last))
        trouble = draw(st.sampled_from(["none", "none", "none", "header", "middle", "end"]))
        made.append(File(journal_id, kind, first, last, trouble, copy))
    return made


@settings(max_examples=300, deadline=None)
@given(files=some_files(), until=st.one_of(st.just(END_2), st.integers(1, END_2)))
@example(files=[File(J1, "segment", 1, 40), File(J2, "segment", 35, 60)], until=END_2)
@example(files=[File(J1, "snapshot", 1, 40, "end"), File(J1, "segment", 5, 31), File(J2, "segment", 31, 50)], until=45)
def test_all_that_any_usable_file_of_the_lineage_holds_comes_back_and_the_rest_is_named(
    files: list[File], until: int
) -> None:
    wanted = Until() if until == END_2 else Until(sequence=until)
    named = [(one.first, limit(one, until)) for one in files if one.first <= limit(one, until)]
    usable = [one for one in files if one.trouble == "none"]
    expected = {sequence for one in usable for sequence in range(one.first, limit(one, until) + 1)}
    if not expected:
        with pytest.raises((NeedsPerson, NotFound)):
            restored(files, wanted)
        return
    result, stored = restored(files, wanted)
    assert set(stored) == expected
    assert all(stored[sequence].hex() == chain_of(J2)[sequence - 1].hash for sequence in expected)
    goal = max(reach for _first, reach in named)
    end = max(*expected, 1, BASE if until > BASE else 1)  # the second journal's base was given out, whoever holds it
    missing = {one for gap in result.missing for one in range(gap.first, gap.last + 1)}
    assert missing == set(range(1, end + 1)) - expected
    assert result.lost_tail == (Gap(end + 1, goal) if end < goal else None)
    assert (result.end.sequence, result.end.hash.hex()) == (end, chain_of(J2)[end - 1].hash)
    assert {one.file for one in result.unusable} <= {one.piece.file for one in files if one.trouble != "none"}


def test_a_snapshot_says_where_the_journal_begins_after_retention() -> None:
    result, stored = restored([File(J2, "snapshot", 21, 50), File(J2, "segment", 51, 60), File(J1, "segment", 1, 20)])
    assert set(stored) == set(range(21, 61))
    assert (result.begin.sequence, result.missing, result.lost_tail) == (20, (), None)


def test_without_a_snapshot_everything_from_the_first_entry_on_is_expected() -> None:
    result, _stored = restored([File(J2, "segment", 41, 60)])
    assert (result.begin.sequence, list(result.missing), result.snapshot) == (0, [Gap(1, 40)], None)


def test_the_newest_snapshot_that_is_whole_is_the_beginning() -> None:
    files = [File(J2, "snapshot", 1, 40), File(J2, "snapshot", 11, 50), File(J2, "snapshot", 21, 60, "end")]
    result, stored = restored([*files, File(J2, "segment", 51, 60)])
    assert (result.snapshot, min(stored), max(stored)) == (files[1].piece.file, 11, 60)


def test_a_point_in_time_takes_the_snapshot_before_it_and_nothing_that_was_stored_later() -> None:
    files = [File(J2, "snapshot", 1, 40), File(J2, "snapshot", 1, 60)]
    result, stored = restored(files, Until(at=stored_at(52)))
    assert (result.snapshot, max(stored)) == (files[0].piece.file, 52)


def test_a_point_in_time_before_every_snapshot_cuts_the_nearest_one() -> None:
    result, stored = restored([File(J2, "snapshot", 1, 60)], Until(at=stored_at(10)))
    assert (set(stored), result.snapshot is not None) == (set(range(1, 11)), True)
    assert [one.journal_id for one in result.journals] == [J1]  # entry 10 was stored before the second journal began


def test_a_file_lost_after_the_point_in_time_matters_to_nobody() -> None:
    files = [File(J2, "segment", 1, 50), File(J2, "segment", 51, 60, "header")]
    result, _stored = restored(files, Until(at=stored_at(45)))
    assert result.lost_tail is None


def test_nothing_before_the_point_in_time_is_no_journal() -> None:
    with pytest.raises(NotFound):
        restored([File(J2, "segment", 1, 60)], Until(at=stored_at(-5)))


class OfTheOtherBranch(File):
    """It says that it is of the second journal, and holds what the first one went on with."""

    def parts(self) -> Any:
        yield from chain_of(J1)[30:40]


def test_two_files_that_contradict_each_other_are_never_joined() -> None:
    files = [File(J2, "segment", 1, 30), OfTheOtherBranch(J2, "segment", 31, 40), File(J2, "segment", 41, 60)]
    result, stored = restored(files)
    assert (max(stored), result.lost_tail) == (40, Gap(41, 60))
    assert [one.file for one in result.unusable] == [files[2].piece.file]
    assert "its entry 41 does not continue" in result.unusable[0].problem


def test_a_file_that_does_not_continue_the_others_gives_way_to_one_that_does() -> None:
    beside = OfTheOtherBranch(J2, "segment", 31, 60, copy=1)  # reaches further, but is no continuation from 41 on
    files = [File(J2, "snapshot", 1, 35), beside, File(J2, "segment", 36, 55), File(J2, "segment", 56, 60)]
    result, stored = restored(files)
    assert (set(stored), result.missing, result.lost_tail) == (set(range(1, 61)), (), None)
    assert [one.file for one in result.unusable] == [beside.piece.file]
    assert stored[60].hex() == chain_of(J2)[59].hash


def test_the_journal_that_began_last_is_taken_and_others_that_nobody_continues_are_told() -> None:
    files = [File(J1, "segment", 1, 40), File(J2, "segment", 31, 60)]
    pieces = [one.piece for one in files]
    lineage, unusable = find_lineage(source_of(files), pieces, None)
    assert (lineage.journal_id, list(lineage.others), unusable) == (J2, [], [])
    lineage, _unusable = find_lineage(source_of(files), pieces, J1)
    assert lineage.journal_id == J1
    with pytest.raises(NotFound, match="no usable file of journal"):
        find_lineage(source_of(files), pieces, J1[:-1] + "f")


def test_files_that_no_key_opens_are_said_to_be_so_with_what_to_do() -> None:
    files = [File(J2, "segment", 1, 60, "header")]
    with pytest.raises(NeedsPerson) as caught:
        find_lineage(source_of(files), [files[0].piece], None)
    assert "none of the 1 files can be read" in caught.value.message
    assert caught.value.hint == "another key"


def test_the_branch_that_was_given_up_comes_back_when_it_is_asked_for() -> None:
    result, stored = restored([File(J1, "segment", 1, 40), File(J2, "segment", 31, 60)], journal_id=J1)
    assert (max(stored), stored[40].hex()) == (40, chain_of(J1)[39].hash)
    assert [one.journal_id for one in result.journals] == [J1]


def test_ten_thousand_segments_are_planned_in_no_time() -> None:
    pieces = [File(J1, "segment", first, first + 99, copy=first).piece for first in range(1, 1_000_000, 100)]
    pieces += [File(J1, "snapshot", 1, last).piece for last in range(10_000, 300_000, 10_000)]
    plan = Plan(pieces, lineage_of(J1), EVERYTHING)
    position, steps = 290_001, 0
    unusable = {piece.file for piece in pieces[5_000:5_010]}
    began_s = time.process_time()
    while position <= plan.goal:
        piece = plan.next_piece(position, unusable)
        if piece is None:
            position = plan.next_position(position, unusable) or plan.goal + 1
            continue
        position, steps = plan.reach(piece) + 1, steps + 1
    assert (steps, plan.goal) == (7_090, 1_000_000)
    assert time.process_time() - began_s < 5  # looking at each file at each step takes a minute
