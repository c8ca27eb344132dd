"""Journal entries out of a damaged file: found on its pages, judged by the chain, given back newest first.

An entry is *proven* when its hash follows from the one before it, its sequence and its record. The first one after a
hole cannot be: what its hash follows from is gone. It comes back all the same when its columns say the same as its
record, and is named as *unproven*; the next check of a journal that was filled finds out. For children only.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from agent.contract.canonical_json import canonical_checked
from agent.contract.transaction import TransactionRecord
from agent.contract.transaction_form import RecordFields
from agent.store import chain
from agent.store.sqlite_pages import TABLE_LEAF, PageFile, Place, Row
from agent.store.transaction_append import offer, row_of

WINDOW: Final = 256
"""Sequences looked at together, and given back together."""
_COLUMNS: Final = 18
_AT, _CONFLICT_WITH, _DUPLICATE_OF, _RECORD, _HASH = 1, 14, 15, 16, 17
_MAX_SEQUENCE: Final = 2**48  # beyond it a number is garbage: 8,000 years at 1,000 a second


class Candidate(NamedTuple):
    """A row that may be an entry. ``age``: of the page it was on, greater is newer."""

    row: tuple[Any, ...]
    digest: bytes
    hash: bytes
    age: int


class Accepted(NamedTuple):
    """An entry to put back; its ``hash`` is as the chain has it, even where the stored one was spoilt."""

    sequence: int
    candidate: Candidate
    hash: bytes
    is_proven: bool


class Salvage:
    """What can be read of the entries in a file, or in several of the same journal, the newest first."""

    def __init__(self, files: Sequence[PageFile], known: Mapping[int, bytes], *, wal_only: bool = False) -> None:
        """``known``: sequence → the chain's hash there, from other sources: the anchor, where journals began."""
        self._files = files
        self._known = known
        self._windows: dict[
            int, array[int]
        ] = {}  # file, frame and page by turns: a tuple each would be 20 MB a million
        for index, pages in enumerate(files):
            for place in pages.places(wal_only=wal_only):
                for window in {rowid // WINDOW for rowid in _rowids(pages, place)}:
                    self._windows.setdefault(window, array("q")).extend((index, *place))
        self.candidates = lru_cache(maxsize=4)(self._candidates)

    def windows(self) -> list[int]:
        """Numbers of the windows that hold anything, the newest first; a window's first sequence is `WINDOW` × it."""
        return sorted(self._windows, reverse=True)

    def accepted(self, window: int) -> list[Accepted]:
        """The entries of one window, in order."""
        first = window * WINDOW
        around = {
            **{one: found for one, found in self.candidates(window - 1).items() if one == first - 1},
            **{one: found for one, found in self.candidates(window + 1).items() if one == first + WINDOW},
            **self.candidates(window),
        }
        return judge(around, first, first + WINDOW - 1, self._known)

    def _candidates(self, window: int) -> dict[int, list[Candidate]]:
        found: dict[int, dict[tuple[bytes, bytes], Candidate]] = {}
        packed = self._windows.get(window, array("q"))
        for index, *where in zip(packed[::3], packed[1::3], packed[2::3], strict=True):
            place = Place(*where)
            age = self._files[index].age(place) - index * _MAX_SEQUENCE
            for row in self._files[index].rows(place, TABLE_LEAF):
                if row.rowid // WINDOW == window and (one := _candidate(row, age)) is not None:
                    versions = found.setdefault(row.rowid, {})
                    known = versions.get((one.digest, one.hash))
                    if known is None or known.age < age:
                        versions[one.digest, one.hash] = one
        return {sequence: sorted(versions.values(), key=lambda one: -one.age) for sequence, versions in found.items()}


def _rowids(pages: PageFile, place: Place) -> list[int]:
    """The sequences in a leaf, if it is one of the entries."""
    found = [rowid for rowid in pages.rowids(place) if 0 < rowid < _MAX_SEQUENCE]
    is_of_entries = bool(found) and any(_candidate(row, 0) for row in pages.rows(place, TABLE_LEAF))
    return found if is_of_entries else []


def judge(
    candidates: Mapping[int, Sequence[Candidate]], first: int, last: int, known: Mapping[int, bytes]
) -> list[Accepted]:
    """Choose the entries from ``first`` to ``last``; of those before and after only the hashes are used. Pure."""
    accepted: list[Accepted] = []
    before = _hashes(candidates, known, first - 1)
    is_certain = first - 1 in known
    for sequence in range(first, last + 1):
        chosen = _choose(candidates, sequence, before, may_be_unproven=not is_certain)
        is_certain = chosen is not None or sequence in known
        if chosen is not None:
            accepted.append(chosen)
            before = [chosen.hash]
        else:
            before = _hashes(candidates, known, sequence)
    return accepted


def _choose(
    candidates: Mapping[int, Sequence[Candidate]], sequence: int, before: Sequence[bytes], *, may_be_unproven: bool
) -> Accepted | None:
    options = candidates.get(sequence, ())
    following = candidates.get(sequence + 1, ())
    linked = [(one, chain.link(hash_, sequence, one.digest)) for hash_ in before for one in options]
    proven = [(one, hash_) for one, hash_ in linked if hash_ == one.hash]
    # A spoilt hash: what it should have been, the next entry confirms.
    proven = proven or [(one, hash_) for one, hash_ in linked if _leads_on(hash_, sequence, following)]
    if len(proven) > 1:  # an attempt that was rolled back and the one that stands: the next entry follows one of them
        proven.sort(key=lambda pair: _leads_on(pair[1], sequence, following), reverse=True)
    if proven:
        return Accepted(sequence, *proven[0], True)
    if not may_be_unproven:
        return None
    sound = [one for one in options if _agrees(one.row)]
    if following:  # a row whose number is spoilt says everything right but the hash that the next one follows from
        sound = [one for one in sound if _leads_on(one.hash, sequence, following)]
    return Accepted(sequence, sound[0], sound[0].hash, False) if sound else None


def _leads_on(hash_: bytes, sequence: int, following: Sequence[Candidate]) -> bool:
    return any(chain.link(hash_, sequence + 1, one.digest) == one.hash for one in following)


def _hashes(candidates: Mapping[int, Sequence[Candidate]], known: Mapping[int, bytes], sequence: int) -> list[bytes]:
    found = [one.hash for one in candidates.get(sequence, ())]
    return [known[sequence], *found] if sequence in known else found


def _candidate(row: Row, age: int) -> Candidate | None:
    values = row.values
    if len(values) < _COLUMNS or not 0 < row.rowid < _MAX_SEQUENCE:
        return None
    record, hash_ = values[_RECORD], values[_HASH]
    if values[0] is not None or not isinstance(record, str) or not isinstance(hash_, bytes):
        return None
    if len(hash_) != chain.HASH_BYTES or not isinstance(values[_AT], int):
        return None
    return Candidate((row.rowid, *values[1:]), chain.record_digest(record.encode()), hash_, age)


def row_to_put_back(one: Accepted) -> tuple[Any, ...] | None:
    """The entry as a row of the table, its columns made from its record anew; None when the record is no record."""
    row = one.candidate.row
    try:
        fields: dict[str, Any] = msgspec.json.decode(row[_RECORD])
        record = TransactionRecord(msgspec.convert(fields, RecordFields), row[_RECORD].encode())
    except (msgspec.MsgspecError, TypeError):
        return None
    conflict_with, duplicate_of = row[_CONFLICT_WITH], row[_DUPLICATE_OF]
    return row_of(
        one.sequence,
        row[_AT],
        offer(record),
        conflict_with=conflict_with if isinstance(conflict_with, int) else None,
        duplicate_of=duplicate_of if isinstance(duplicate_of, str) else None,
        hash_=one.hash,
    )


def _agrees(row: tuple[Any, ...]) -> bool:
    """True when everything that the columns repeat is as in the record, and the record is in its own one form."""
    try:
        is_canonical = canonical_checked(msgspec.json.decode(row[_RECORD])) == row[_RECORD].encode()
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return False
    candidate = Candidate(row, b"", row[_HASH], 0)
    return is_canonical and row_to_put_back(Accepted(row[0], candidate, row[_HASH], False)) == row[:_COLUMNS]


def missing_spans(present: Iterator[int] | Sequence[int], after: int, upto: int) -> list[tuple[int, int]]:
    """Spans (first, last) of ``after + 1`` to ``upto`` that ``present`` (ascending) does not have. Pure."""
    spans, expected = [], after + 1
    for sequence in present:
        if sequence > upto:
            break
        if sequence > expected:
            spans.append((expected, sequence - 1))
        expected = max(expected, sequence + 1)
    if expected <= upto:
        spans.append((expected, upto))
    return spans
