"""Whose journals the files in a place hold, as their headers say, and which of them is to be restored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from msgspec import Struct

from agent.backup.file_format import Header, JournalLine, Part
from agent.backup.place import opened
from agent.backup.restore_plan import Piece, newest_leaf
from agent.errors import BackupUnusable, NeedsPerson, NotFound
from agent.store.anchor import Anchor
from agent.store.journals import Journal


class Source(Struct, frozen=True):
    """Where files are, the private keys that open them, and what to do where those are the wrong ones."""

    place: Path
    identities: Sequence[str]
    key_hint: str

    def opened(self, piece: Piece) -> AbstractContextManager[tuple[Header, Iterator[Part]]]:
        """As `place.opened`."""
        return opened(self.place, piece, self.identities)


class Unusable(Struct, frozen=True):
    """A file that gave nothing, and why."""

    file: str
    problem: str


class Lineage(Struct, frozen=True):
    """The journal to restore. ``journals``: with its ancestors, oldest first; ``others``: that nobody continues."""

    journals: Sequence[JournalLine]
    others: Sequence[str]

    @property
    def journal_id(self) -> str:
        return self.journals[-1].journal_id


def find_lineage(source: Source, pieces: Sequence[Piece], wanted: str | None) -> tuple[Lineage, list[Unusable]]:
    """Whose journals the files hold; the one to restore is the last that began, or ``wanted``.

    Raises:
        NeedsPerson: Not one file could be read: another key perhaps.
        NotFound: ``wanted`` is not there.
    """
    unusable: list[Unusable] = []
    lineages: list[Sequence[JournalLine]] = []
    by_journal: dict[str, list[Piece]] = {}
    for piece in pieces:
        by_journal.setdefault(piece.journal_id, []).append(piece)
    for of_one in by_journal.values():
        header = _newest_header(source, of_one, unusable)
        if header is not None:
            lineages.append(header.journals)
    if not lineages:
        raise NeedsPerson(
            f"none of the {len(pieces)} files can be read: {unusable[0].problem}" if unusable else "there are no files",
            hint=source.key_hint,
        )
    if wanted is None:
        best, others = newest_leaf(lineages)
        return Lineage(best, others), unusable
    for one in lineages:
        if one[-1].journal_id == wanted:
            return Lineage(one, ()), unusable
    known = ", ".join(sorted(one[-1].journal_id for one in lineages))
    raise NotFound(f"there is no usable file of journal {wanted}", field="--journal", hint=f"there are {known}")


def _newest_header(source: Source, pieces: Sequence[Piece], unusable: list[Unusable]) -> Header | None:
    """The lineage is part of every header; the newest readable one is asked."""
    for piece in sorted(pieces, key=lambda one: (one.says.upto_seq, one.says.from_seq), reverse=True):
        try:
            with source.opened(piece) as (header, _parts):
                found: Header = header
                return found
        except BackupUnusable as err:
            unusable.append(Unusable(piece.file, err.message))
    return None


def journal_rows(lines: Sequence[JournalLine]) -> list[Journal]:
    """A lineage as the store keeps it."""
    return [
        Journal(
            one.journal_id,
            Anchor(one.base_sequence, bytes.fromhex(one.base_hash)),
            one.parent,
            one.began_at,
            one.cause,
        )
        for one in lines
    ]
