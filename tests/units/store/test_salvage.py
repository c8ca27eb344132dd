"""Entries out of spoilt files: only what was stored comes back, and all of it that lies on whole pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.store import chain
from agent.store.salvage import Accepted, Candidate, Salvage, judge, missing_spans, row_to_put_back
from agent.store.sqlite_pages import PageFile
from tests.kit import damage
from tests.kit.damage import PAGE, Made

COUNT, IN_WAL = 120, 20
HASH, RECORD = 17, 16


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return damage.make(tmp_path_factory.mktemp("whole"), COUNT, in_wal=IN_WAL)


@pytest.fixture(scope="module")
def pages(made: Made, tmp_path_factory: pytest.TempPathFactory) -> dict[int, set[int]]:
    return damage.pages_of_entries(made.put(tmp_path_factory.mktemp("pages")))


def salvaged(path: Path, made: Made) -> dict[int, Accepted]:
    files = PageFile(path, path.with_name(f"{path.name}-wal"))
    try:
        salvage = Salvage([files], {0: chain.genesis(made.journal_id)})
        return {one.sequence: one for window in salvage.windows() for one in salvage.accepted(window)}
    finally:
        files.close()


def check(found: dict[int, Accepted], made: Made) -> None:
    """Proven ones are as they were stored; unproven ones are few, each after a hole, and say so."""
    for sequence, one in found.items():
        if one.is_proven:
            record, hash_ = made.entries[sequence]
            assert (one.candidate.row[RECORD], one.hash) == (record, hash_)
            row = row_to_put_back(one)
            assert row is not None
            assert (row[0], row[RECORD], row[HASH]) == (sequence, record, hash_)
        else:
            assert sequence - 1 not in found


def test_a_whole_file_comes_back_whole(made: Made, tmp_path: Path) -> None:
    found = salvaged(made.put(tmp_path), made)
    assert set(found) == set(made.entries)
    assert all(one.is_proven for one in found.values())
    check(found, made)


SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Spoil = Callable[[bytes], bytes]


@SETTINGS
@given(bits=st.lists(st.integers(0, 2**24), min_size=1, max_size=40), part=st.sampled_from(damage.PARTS))
def test_flipped_bits_cost_only_what_is_on_their_pages(
    made: Made, pages: dict[int, set[int]], tmp_path: Path, bits: list[int], part: str
) -> None:
    path = made.put(tmp_path)
    content = made.files[part]
    (tmp_path / part).write_bytes(damage.flip(content, bits))
    found = salvaged(path, made)
    check(found, made)
    if part == "agent.db":
        touched = {bit // 8 % len(content) // PAGE + 1 for bit in bits}
        if 1 in touched:
            return  # the header tells how long a page is
        untouched = {one for one, its in pages.items() if not its & touched and one <= COUNT - IN_WAL}
        # The first one after a hole is believed only if the next one follows from it.
        doubtful = {one for one in untouched if one - 1 not in untouched and one + 1 not in untouched}
        assert untouched - doubtful <= set(found)


@SETTINGS
@given(first=st.integers(2, 60), count=st.integers(1, 8))
def test_zeroed_pages_cost_only_what_was_on_them(
    made: Made, pages: dict[int, set[int]], tmp_path: Path, first: int, count: int
) -> None:
    path = made.put(tmp_path)
    content = bytearray(made.files["agent.db"])
    end = min((first - 1 + count) * PAGE, len(content))
    content[(first - 1) * PAGE : end] = bytes(max(0, end - (first - 1) * PAGE))
    path.write_bytes(content)
    found = salvaged(path, made)
    check(found, made)
    gone = set(range(first, first + count))
    assert {one for one, its in pages.items() if not its & gone and one <= COUNT - IN_WAL} <= set(found)


@SETTINGS
@given(data=st.data(), part=st.sampled_from(damage.PARTS))
def test_a_cut_costs_only_what_lay_behind_it(
    made: Made, pages: dict[int, set[int]], tmp_path: Path, data: st.DataObject, part: str
) -> None:
    path = made.put(tmp_path)
    size = data.draw(st.integers(0, len(made.files[part])))
    (tmp_path / part).write_bytes(made.files[part][:size])
    found = salvaged(path, made)
    check(found, made)
    if part == "agent.db" and size >= PAGE:
        assert {one for one, its in pages.items() if max(its) * PAGE <= size and one <= COUNT - IN_WAL} <= set(found)


@pytest.mark.parametrize("missing", damage.PARTS)
def test_either_file_alone_gives_what_it_has(made: Made, tmp_path: Path, missing: str) -> None:
    path = made.put(tmp_path)
    (tmp_path / missing).unlink()
    found = salvaged(path, made)
    check(found, made)
    expected = range(1, COUNT - IN_WAL + 1) if missing == "agent.db-wal" else range(COUNT - IN_WAL + 1, COUNT + 1)
    assert set(expected) <= set(found)


def _chain(count: int) -> tuple[dict[int, list[Candidate]], dict[int, bytes]]:
    known = {0: bytes(32)}
    candidates = {}
    for sequence in range(1, count + 1):
        record = f'{{"n":{sequence}}}'
        digest = chain.record_digest(record.encode())
        hash_ = chain.link(known[sequence - 1], sequence, digest)
        known[sequence] = hash_
        row = (sequence, 0, *[None] * 14, record, hash_)
        candidates[sequence] = [Candidate(row, digest, hash_, 0)]
    return candidates, {0: known[0]}


def test_a_spoilt_hash_is_put_right_when_the_next_entry_confirms_it() -> None:
    candidates, known = _chain(5)
    whole = judge(candidates, 1, 5, known)
    right = candidates[3][0]
    candidates[3] = [right._replace(hash=bytes(32))]
    found = judge(candidates, 1, 5, known)
    assert [(one.sequence, one.hash, one.is_proven) for one in found] == [
        (one.sequence, one.hash, True) for one in whole
    ]


def test_a_changed_record_is_left_out_and_those_after_it_are_proven() -> None:
    candidates, known = _chain(5)
    candidates[3] = [candidates[3][0]._replace(digest=bytes(32))]
    found = judge(candidates, 1, 5, known)
    assert [(one.sequence, one.is_proven) for one in found] == [(1, True), (2, True), (4, True), (5, True)]


def test_of_an_attempt_that_was_rolled_back_and_the_one_that_stands_the_next_entry_decides() -> None:
    candidates, known = _chain(4)
    digest = chain.record_digest(b'{"n":"other"}')
    before = candidates[2][0].hash
    other = Candidate(candidates[3][0].row, digest, chain.link(before, 3, digest), 99)
    candidates[3] = [other, candidates[3][0]]
    assert [one.candidate.digest != digest for one in judge(candidates, 1, 4, known)] == [True] * 4


@given(st.sets(st.integers(1, 60)), st.integers(0, 20), st.integers(0, 60))
def test_missing_spans_are_exactly_what_is_not_there(present: set[int], after: int, upto: int) -> None:
    spans = missing_spans(sorted(present), after, upto)
    named = [sequence for first, last in spans for sequence in range(first, last + 1)]
    assert named == [sequence for sequence in range(after + 1, upto + 1) if sequence not in present]
