"""Which backup files, in which order, give back a journal: decisions from their names alone. Pure.

A lineage is a journal with its ancestors: each gives the entries up to where the next one begins. Files overlap, some
will turn out unusable when they are read; whoever reads them asks again, with those left out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from agent.backup.file_format import JournalLine
from agent.backup.file_names import FileName

_EVER: Final = datetime.max.replace(tzinfo=UTC)


class Piece(Struct, frozen=True):
    """One backup file. ``file``: its path below the place; ``says``: its name, taken apart."""

    journal_id: str
    file: str
    says: FileName


class Until(Struct, frozen=True):
    """How far to go: up to a sequence, or up to what was stored by a point in time; both None: as far as there is."""

    sequence: int | None = None
    at: datetime | None = None


class Plan:
    """The files of one lineage that can give something, and the choice among them.

    Attributes:
        goal: The last sequence that there should be, by all names; 0: none.
    """

    def __init__(self, pieces: Iterable[Piece], journals: Sequence[JournalLine], until: Until) -> None:
        """``journals``: the lineage, oldest first."""
        self._until = until
        ends = [one.base_sequence for one in journals[1:]]
        self._limits: dict[str, int | None] = {}
        for index, one in enumerate(journals):
            known = [end for end in (*ends[index:], until.sequence) if end is not None]
            self._limits[one.journal_id] = min(known, default=None)
        giving = [one for one in pieces if one.journal_id in self._limits and self._gives(one)]
        self.goal = max((self.reach(one) for one in giving), default=0)
        # There may be ten thousand segments and a few dozen snapshots: those are looked up, these looked at.
        self._snapshots = [one for one in giving if one.says.kind == "snapshot"]
        self._segments = sorted(
            (one for one in giving if one.says.kind == "segment"), key=lambda one: (one.says.from_seq, one.file)
        )
        self._starts = [one.says.from_seq for one in self._segments]
        self._longest = max((one.says.upto_seq - one.says.from_seq + 1 for one in self._segments), default=0)

    def reach(self, piece: Piece) -> int:
        """The last entry that the piece gives to this lineage."""
        limit = self._limits[piece.journal_id]
        return piece.says.upto_seq if limit is None else min(piece.says.upto_seq, limit)

    def snapshots(self) -> list[Piece]:
        """Every snapshot, the best beginning first: the newest that is not beyond the end, then the nearest beyond."""
        within: list[Piece] = []
        beyond: list[Piece] = []
        for one in self._snapshots:
            (beyond if self._is_beyond(one) else within).append(one)
        within.sort(key=lambda one: (one.says.upto_seq, _made(one), one.file), reverse=True)
        beyond.sort(key=lambda one: (one.says.upto_seq, _made(one), one.file))
        return [*within, *beyond]

    def next_piece(self, position: int, unusable: Container[str]) -> Piece | None:
        """Who gives the entry ``position`` and most of what follows; None: no file that is left."""
        first = bisect_right(self._starts, position - self._longest)
        near = self._segments[first : bisect_right(self._starts, position)]
        fitting = [
            one
            for one in (*near, *self._snapshots)
            if one.file not in unusable and one.says.from_seq <= position <= self.reach(one)
        ]
        return max(fitting, key=lambda one: (self.reach(one), one.says.kind == "segment", one.file), default=None)

    def next_position(self, position: int, unusable: Container[str]) -> int | None:
        """Where the files that are left go on after ``position``, which none of them has; None: nowhere."""
        later = [one.says.from_seq for one in self._snapshots if one.file not in unusable]
        for one in self._segments[bisect_right(self._starts, position) :]:
            if one.file not in unusable:
                later.append(one.says.from_seq)
                break
        return min((one for one in later if one > position), default=None)

    def _gives(self, piece: Piece) -> bool:
        # A snapshot of an empty journal gives no entry, but everything else.
        if piece.says.upto_seq < piece.says.from_seq:
            return piece.says.kind == "snapshot"
        return piece.says.from_seq <= self.reach(piece)

    def _is_beyond(self, piece: Piece) -> bool:
        """It tells of a later state than the one wanted, though it holds what was before."""
        too_late = self._until.at is not None and _made(piece) > self._until.at
        return too_late or self.reach(piece) < piece.says.upto_seq


def _made(piece: Piece) -> datetime:
    return piece.says.made_at or _EVER


def lineage_at(journals: Sequence[JournalLine], upto: int | None) -> Sequence[JournalLine]:
    """The journals that the entries up to ``upto`` belong to (None: all of them); at least the first one.

    One that begins only there, or later, is no part of it.
    """
    return [one for index, one in enumerate(journals) if index == 0 or upto is None or one.base_sequence < upto]


def newest_leaf(lineages: Iterable[Sequence[JournalLine]]) -> tuple[Sequence[JournalLine], list[str]]:
    """Of several lineages the one whose last journal nobody continues and began last; and the others that nobody does.

    Raises:
        ValueError: There is none.
    """
    known = list(lineages)
    parents = {one.parent for lineage in known for one in lineage}
    leaves = [lineage for lineage in known if lineage[-1].journal_id not in parents] or known
    best = max(leaves, key=lambda lineage: (lineage[-1].began_at, lineage[-1].journal_id))
    return best, [lineage[-1].journal_id for lineage in leaves if lineage is not best]
