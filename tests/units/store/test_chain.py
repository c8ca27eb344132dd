"""The chain's formula against fixed vectors (made with `sha256sum`), and what its check finds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.store import chain

JOURNAL = "0192f6d0-7c1e-7000-8000-000000000001"
GENESIS = "8f39de1919898522ca9db6158106f27a1be73d123c572ede8f8d8fe8cb20f866"
RECORDS = (b'{"stan":"000731"}', b'{"stan":"000732"}')
HASHES = (
    "28661fe44c35582f3426a379f437b04b0d835f1fc8807d8770d9918fac1bdf5e",
    "d0e272c3a74fd8a12b663f417238cf4b70a323848d6a659aeb86dfdfc0ff7785",
)


def chained(records: list[bytes]) -> list[chain.Entry]:
    """The entries of a sound journal."""
    entries, last = [], chain.genesis(JOURNAL)
    for sequence, content in enumerate(records, 1):
        last = chain.link(last, sequence, chain.record_digest(content))
        entries.append(chain.Entry(sequence, content, last))
    return entries


def test_the_fixed_vectors() -> None:
    assert chain.genesis(JOURNAL).hex() == GENESIS
    assert tuple(entry.hash.hex() for entry in chained(list(RECORDS))) == HASHES


@pytest.mark.parametrize("wrong", ["", JOURNAL[:-1], JOURNAL.replace("c", "C"), "茶" * 36])
def test_only_a_lower_case_uuid_names_a_journal(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"ASCII|ascii"):
        chain.genesis(wrong)


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(0, 12))
def test_a_sound_journal_is_intact_from_any_anchor(records: list[bytes], cut: int) -> None:
    entries = chained(records)
    cut = min(cut, len(entries))
    anchor = entries[cut - 1].hash if cut else chain.genesis(JOURNAL)
    check = chain.verify(entries[cut:], cut, anchor)
    assert check.intact
    assert check.upto_sequence == len(entries)
    assert check.hash == (entries[-1].hash if entries else chain.genesis(JOURNAL))


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=9), st.data())
def test_any_changed_entry_is_found_where_it_stands(records: list[bytes], data: st.DataObject) -> None:
    entries = chained(records)
    place = data.draw(st.integers(0, len(entries) - 1))
    entries[place] = entries[place]._replace(canonical_record=entries[place].canonical_record + b" ")
    check = chain.verify(entries, 0, chain.genesis(JOURNAL))
    assert (check.intact, check.upto_sequence, check.missing) == (False, place, ())


def test_holes_are_named() -> None:
    entries = [entry for entry in chained([b"x"] * 9) if entry.sequence not in (3, 4, 7)]
    check = chain.verify(entries, 0, chain.genesis(JOURNAL))
    assert (check.intact, check.upto_sequence, check.missing) == (False, 2, (3, 4, 7))


def test_a_huge_hole_is_not_listed_without_end() -> None:
    last = chained([b"x"])[0]._replace(sequence=10**12)
    check = chain.verify([last], 0, chain.genesis(JOURNAL))
    assert not check.intact
    assert len(check.missing) == 100
