"""Holes of a journal filled from backup files: only by entries that the chain proves.

Each hash commits to everything before it. So the entry after a hole says what hash the one before it must have, that
one says the same of the next, and so on back: whatever journal the file is of, what agrees is the missing entry. Where
the way back breaks off, what is before stays missing.

A journal that was rebuilt without knowing where the old one ended leaves room: nothing after such a hole knows what was
in it. That one is filled from its beginning, by files of the very journal that it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial

from msgspec import Struct

from agent.backup.file_format import Entry, Header, Part
from agent.backup.restore_plan import Piece
from agent.errors import BackupUnusable
from agent.store import chain, entry_rows, marks
from agent.store.anchor import anchor
from agent.store.database import Connection
from agent.store.journals import Journal
from agent.store.restored_rows import Gap

Open = Callable[[Piece], AbstractContextManager[tuple[Header, Iterator[Part]]]]


class Filled(Struct, frozen=True):
    """``entries``: how many came in; ``used``: the files they are from; ``unusable``: file → why."""

    entries: int
    used: Sequence[str]
    unusable: dict[str, str]


class _Candidate(Struct, frozen=True):
    """An entry that may be a missing one, with the hash of the one before it by its file."""

    entry: Entry
    before: bytes
    piece: Piece

    @property
    def hash(self) -> bytes:
        return bytes.fromhex(self.entry.hash)


_Candidates = dict[int, list[_Candidate]]


def fill(
    db: Connection, gaps: Iterable[Gap], lineage: Sequence[Journal], pieces: Sequence[Piece], open_piece: Open
) -> Filled:
    """Put back what is missing, inside the caller's transaction.

    Args:
        lineage: The journals of this file, oldest first.
        pieces: Files of the same terminal, of any of its journals.
    """
    bases = {one.base.sequence: one.base.hash for one in lineage}
    used: dict[str, None] = {}
    unusable: dict[str, str] = {}
    count = 0
    for gap in gaps:
        candidates = _candidates(gap, pieces, open_piece, unusable)
        found = list(_backward(db, gap, bases.get(gap.last), candidates))
        left = Gap(gap.first, gap.last - len(found))
        if found and left.first > left.last and found[-1].before != _hash_at(db, gap.first - 1):
            file = found[-1].piece.file
            unusable[file] = f"its entry {gap.first} does not continue the one that stands before the hole"
            continue
        if not found and gap.last in bases:
            owner = [one.journal_id for one in lineage if one.base.sequence < gap.first][-1:]
            found = list(_forward(_hash_at(db, gap.first - 1), left, owner, candidates))
        count += entry_rows.put_back(db, [one.entry.item for one in found])
        if found:  # a collector that passed over the hole is offered what was in it
            delivered = marks.marks(db).delivered
            marks.set_delivered(db, min(delivered, min(one.entry.seq for one in found) - 1))
        used.update(dict.fromkeys(one.piece.file for one in found))
    return Filled(count, tuple(used), unusable)


def _hash_at(db: Connection, sequence: int) -> bytes:
    """Of the entry before a hole, or of what stands before the first one."""
    row = db.execute("SELECT hash FROM entries WHERE sequence = ?", (sequence,)).fetchone()
    return bytes(row[0]) if row is not None else anchor(db).hash


def _candidates(gap: Gap, pieces: Sequence[Piece], open_piece: Open, unusable: dict[str, str]) -> _Candidates:
    found: _Candidates = {}
    for piece in pieces:
        if piece.file in unusable or piece.says.upto_seq < gap.first or piece.says.from_seq > gap.last:
            continue
        of_file: list[_Candidate] = []
        try:
            with open_piece(piece) as (header, parts):
                before, last = bytes.fromhex(header.anchor.hash), header.anchor.sequence
                for part in parts:
                    if isinstance(part, Entry):
                        if gap.first <= part.seq <= gap.last and part.seq == last + 1:
                            of_file.append(_Candidate(part, before, piece))
                        before, last = bytes.fromhex(part.hash), part.seq
        except BackupUnusable as err:
            unusable[piece.file] = err.message
            continue
        for one in of_file:
            found.setdefault(one.entry.seq, []).append(one)
    return found


def _backward(db: Connection, gap: Gap, base: bytes | None, candidates: _Candidates) -> Iterator[_Candidate]:
    """From the end of the hole back, as far as the chain reaches.

    Args:
        base: The chain at the end of the hole, where a journal began there; what came after continues it.
    """
    agrees: Callable[[_Candidate], bool]
    following = db.execute("SELECT record, hash FROM entries WHERE sequence = ?", (gap.last + 1,)).fetchone()
    if base is not None:
        agrees = partial(_has_hash, base)
    elif following is not None:
        agrees = partial(_comes_before, gap.last + 1, chain.record_digest(following[0].encode()), bytes(following[1]))
    else:
        return
    for sequence in range(gap.last, gap.first - 1, -1):
        fitting = next((one for one in candidates.get(sequence, ()) if agrees(one)), None)
        if fitting is None:
            return
        yield fitting
        agrees = partial(_has_hash, fitting.before)  # which the file's own chain proved


def _forward(before: bytes, gap: Gap, owner: Sequence[str], candidates: _Candidates) -> Iterator[_Candidate]:
    """From the beginning of the hole on, while the files of the journal ``owner`` say one and the same."""
    for sequence in range(gap.first, gap.last + 1):
        following = [
            one for one in candidates.get(sequence, ()) if one.before == before and one.piece.journal_id in owner
        ]
        if len({one.hash for one in following}) != 1:
            return
        yield following[0]
        before = following[0].hash


def _has_hash(wanted: bytes, one: _Candidate) -> bool:
    return one.hash == wanted


def _comes_before(sequence: int, digest: bytes, hash_: bytes, one: _Candidate) -> bool:
    """Does the entry ``sequence``, with these digest and hash, link to it?"""
    return chain.link(one.hash, sequence, digest) == hash_
