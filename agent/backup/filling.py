"""Holes of a journal filled from backup files: only by entries that the entry after the hole proves.

Each hash commits to everything before it. So the entry after a hole says what hash the one before it must have, that
one says the same of the next, and so on back: whatever journal the file is of, what agrees is the missing entry. Where
the way back breaks off, what is before stays missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

from msgspec import Struct

from agent.backup.file_format import Entry, Header, Part
from agent.backup.restore_plan import Piece
from agent.errors import BackupUnusable
from agent.store import chain, entry_rows
from agent.store.anchor import anchor
from agent.store.database import Connection
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
    file: str


def fill(db: Connection, gaps: Iterable[Gap], pieces: Sequence[Piece], open_piece: Open) -> Filled:
    """Put back what is missing, inside the caller's transaction.

    Args:
        pieces: Files of the same terminal, of any of its journals.
    """
    used: dict[str, None] = {}
    unusable: dict[str, str] = {}
    count = 0
    for gap in gaps:
        candidates = _candidates(gap, pieces, open_piece, unusable)
        found = list(_proved(db, gap, candidates))
        if len(found) == gap.last - gap.first + 1 and found[-1].before != _hash_at(db, gap.first - 1):
            unusable[found[-1].file] = f"its entry {gap.first} does not continue the one that stands before the hole"
            continue
        count += entry_rows.put_back(db, (one.entry.item for one in found))
        used.update(dict.fromkeys(one.file for one in found))
    return Filled(count, tuple(used), unusable)


def _candidates(
    gap: Gap, pieces: Sequence[Piece], open_piece: Open, unusable: dict[str, str]
) -> dict[int, list[_Candidate]]:
    found: dict[int, list[_Candidate]] = {}
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
                            of_file.append(_Candidate(part, before, piece.file))
                        before, last = bytes.fromhex(part.hash), part.seq
        except BackupUnusable as err:
            unusable[piece.file] = err.message
            continue
        for one in of_file:
            found.setdefault(one.entry.seq, []).append(one)
    return found


def _hash_at(db: Connection, sequence: int) -> bytes:
    """Of the entry before a hole, or of what stands before the first one."""
    row = db.execute("SELECT hash FROM entries WHERE sequence = ?", (sequence,)).fetchone()
    return bytes(row[0]) if row is not None else anchor(db).hash


def _proved(db: Connection, gap: Gap, candidates: dict[int, list[_Candidate]]) -> Iterator[_Candidate]:
    """From the end of the hole back, as far as the chain reaches."""
    sequence = gap.last
    record, after = db.execute("SELECT record, hash FROM entries WHERE sequence = ?", (gap.last + 1,)).fetchone()
    digest = chain.record_digest(record.encode())

    def agrees(one: _Candidate) -> bool:
        return chain.link(bytes.fromhex(one.entry.hash), sequence + 1, digest) == bytes(after)

    while sequence >= gap.first:
        fitting = next((one for one in candidates.get(sequence, ()) if agrees(one)), None)
        if fitting is None:
            return
        yield fitting
        digest, after = chain.record_digest(bytes(fitting.entry.record)), bytes.fromhex(fitting.entry.hash)
        sequence -= 1
