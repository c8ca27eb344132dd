"""Holes are filled by what the entry after them proves, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from agent.backup.file_format import Entry
from agent.backup.filling import Filled, fill
from agent.backup.lineage import journal_rows
from agent.contract.canonical_json import canonical
from agent.store import chain, entry_rows, marks
from agent.store.anchor import Anchor, move_anchor
from agent.store.building import scratch
from agent.store.journals import Journal
from agent.store.restored_rows import Gap, Proof, bases_of, prove
from agent.store.schema import migrations
from agent.store.sqlite import Connection
from tests.kit.store_records import sale
from tests.units.backup.chained_files import BASE, END_1, END_2, J1, J2, File, chain_of, lineage_of, source_of

NOW = datetime(2026, 11, 25, tzinfo=UTC)


@contextmanager
def journal_without(*holes: Gap, journal_id: str = J2) -> Iterator[Connection]:
    """A database of the journal in which entries are missing."""
    with scratch(NOW, migrations()) as db:
        db.execute("BEGIN")
        move_anchor(db, Anchor(0, chain.genesis(J1)))
        kept = [
            one.item for one in chain_of(journal_id) if not any(hole.first <= one.seq <= hole.last for hole in holes)
        ]
        entry_rows.put_back(db, kept)
        yield db


def proof_of(db: Connection) -> Proof:
    return prove(db, bases_of(journal_rows(lineage_of(J2))))


def filled(db: Connection, files: Sequence[File]) -> Filled:
    source = source_of(list(files))
    lineage = journal_rows(lineage_of(J2))
    return fill(db, proof_of(db).gaps, lineage, [one.piece for one in files], source.opened)


@settings(max_examples=150, deadline=None)
@given(
    first=st.integers(1, END_2 - 1),
    length=st.integers(1, 20),
    spans=st.lists(st.tuples(st.integers(1, END_2), st.integers(0, 25), st.booleans()), max_size=6),
)
def test_what_reaches_back_from_the_end_of_the_hole_comes_in_and_the_rest_stays_named(
    first: int, length: int, spans: list[tuple[int, int, bool]]
) -> None:
    hole = Gap(first, min(first + length - 1, END_2 - 1))
    files = [
        File(J2, "segment", begin, min(begin + more, END_2), "none" if whole else "end", copy)
        for copy, (begin, more, whole) in enumerate(spans)
    ]
    held = {one for file in files if file.trouble == "none" for one in range(file.first, file.last + 1)}
    reached = hole.last
    while reached >= hole.first and reached in held:
        reached -= 1
    with journal_without(hole) as db:
        result = filled(db, files)
        assert result.entries == hole.last - reached
        left = [Gap(hole.first, reached)] if reached >= hole.first else []
        proof = proof_of(db)
        assert (list(proof.gaps), proof.broken_at) == (left, None)


def test_several_holes_are_filled_at_once() -> None:
    with journal_without(Gap(1, 3), Gap(20, 25), Gap(50, 50)) as db:
        result = filled(db, [File(J2, "snapshot", 1, 45), File(J2, "segment", 50, 50)])
        assert (result.entries, list(proof_of(db).gaps), len(result.used)) == (10, [], 2)


def test_what_came_in_is_offered_to_the_collector_again() -> None:
    with journal_without(Gap(3, 6)) as db:
        marks.set_delivered(db, END_2)
        filled(db, [File(J2, "segment", 5, 8, "none", 0)])
        assert marks.marks(db).delivered == 4
        filled(db, [])
        assert marks.marks(db).delivered == 4


def test_entries_of_the_branch_that_was_given_up_never_come_in() -> None:
    with journal_without(Gap(BASE + 1, BASE + 5)) as db:
        result = filled(db, [File(J1, "segment", 1, 40)])
        assert (result.entries, list(proof_of(db).gaps)) == (0, [Gap(BASE + 1, BASE + 5)])


def test_a_parents_file_fills_what_is_the_parents() -> None:
    with journal_without(Gap(5, BASE)) as db:
        assert filled(db, [File(J1, "segment", 1, 40)]).entries == BASE - 4
        assert not proof_of(db).gaps


def test_a_hole_between_two_branches_stays() -> None:
    # Before the hole the entries are of one branch, after it of the other: whatever fills it contradicts one of them.
    with journal_without(Gap(36, 60)) as db:
        entry_rows.put_back(db, [])
        db.execute("DELETE FROM entries WHERE sequence > 30")
        entry_rows.put_back(db, [one.item for one in chain_of(J1) if 31 <= one.seq <= 33])
        entry_rows.put_back(db, [one.item for one in chain_of(J2) if one.seq >= 38])
        result = filled(db, [File(J2, "segment", 31, 60)])
        assert result.entries == 0
        assert "does not continue the one that stands before the hole" in next(iter(result.unusable.values()))


def test_a_record_that_was_changed_is_not_taken_though_its_hash_is_right() -> None:
    class Changed(File):
        def parts(self) -> Any:
            # As a file would be whose reader checked nothing: the entry after its own gap links to nothing.
            for one in chain_of(J2)[self.first - 1 : self.last]:
                if one.seq != 11:
                    yield one

    with journal_without(Gap(10, 12)) as db:
        result = filled(db, [Changed(J2, "segment", 5, 20)])
        assert result.entries == 0  # 12 has no entry before it in its file that proves its record
        assert list(proof_of(db).gaps) == [Gap(10, 12)]


@pytest.mark.parametrize("trouble", ["header", "middle", "end"])
def test_an_unusable_file_is_named_and_gives_nothing(trouble: Any) -> None:
    with journal_without(Gap(10, 12)) as db:
        result = filled(db, [File(J2, "segment", 5, 20, trouble)])
        assert (result.entries, len(result.unusable)) == (0, 1)


J3 = "0192f6d0-7c1e-7000-8000-00000000000c"


@contextmanager
def rebuilt_after(known: int, base: Anchor, more: int) -> Iterator[tuple[Connection, list[Journal]]]:
    """The first journal's entries up to ``known`` after damage, and ``more`` of the one that goes on after ``base``."""
    lineage = [*journal_rows(lineage_of(J1)), Journal(J3, base, J1, 3, "rebuilt")]
    with journal_without(Gap(known + 1, END_1), journal_id=J1) as db:
        before = base.hash
        for sequence in range(base.sequence + 1, base.sequence + more + 1):
            record = canonical(sale(stan=f"{sequence:06d}"))
            before = chain.link(before, sequence, chain.record_digest(record))
            entry = Entry(sequence, "2026-11-21T02:00:00.000Z", Raw(record), before.hex())
            entry_rows.put_back(db, [entry.item])
        yield db, lineage


def hash_in(journal_id: str, sequence: int) -> bytes:
    return bytes.fromhex(chain_of(journal_id)[sequence - 1].hash)


@pytest.mark.parametrize("more", [0, 3])
def test_room_that_a_rebuild_left_is_filled_from_its_beginning_by_files_of_that_journal_alone(more: int) -> None:
    with rebuilt_after(20, Anchor(120, hash_in(J1, 20)), more) as (db, lineage):
        bases = bases_of(lineage)
        assert list(prove(db, bases).gaps) == [Gap(21, 120)]
        files = [File(J2, "segment", 21, 60), File(J1, "segment", 15, 25), File(J1, "segment", 26, 34)]
        result = fill(db, prove(db, bases).gaps, lineage, [one.piece for one in files], source_of(files).opened)
        assert (result.entries, sorted(result.used)) == (14, sorted(one.piece.file for one in files[1:]))
        proof = prove(db, bases)
        assert (list(proof.gaps), proof.broken_at) == ([Gap(35, 120)], None)
        last = db.execute("SELECT hash FROM entries WHERE sequence = 34").fetchone()
        assert last == (hash_in(J1, 34),)


@pytest.mark.parametrize("more", [0, 3])
def test_an_end_that_a_rebuild_knows_for_certain_proves_what_was_before_it(more: int) -> None:
    with rebuilt_after(20, Anchor(30, hash_in(J1, 30)), more) as (db, lineage):
        bases = bases_of(lineage)
        files = [File(J2, "segment", 11, 60)]
        result = fill(db, prove(db, bases).gaps, lineage, [files[0].piece], source_of(files).opened)
        proof = prove(db, bases)
        assert (result.entries, proof.gaps, proof.broken_at) == (10, (), None)


def test_files_of_one_journal_that_contradict_each_other_fill_nothing() -> None:
    class OfTheOtherBranch(File):
        def parts(self) -> Any:
            yield from chain_of(J2)[30:40]

    with rebuilt_after(30, Anchor(130, hash_in(J1, 30)), 1) as (db, lineage):
        files = [File(J1, "segment", 31, 40), OfTheOtherBranch(J1, "segment", 31, 40, copy=1)]
        gaps = prove(db, bases_of(lineage)).gaps
        assert fill(db, gaps, lineage, [one.piece for one in files], source_of(files).opened).entries == 0
