"""Two journals of one terminal, one continuing the other, and files of them in memory: no encryption, no disk.

``J1`` has 40 entries; ``J2`` was restored from its entry 30 and goes on to 60. Entries 31 to 40 of ``J1`` are of the
branch that was given up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec import Raw

from agent.backup.file_format import AnchorPoint, Entry, Header, JournalLine, Part, Trailer
from agent.backup.file_names import FileName, file_name
from agent.backup.lineage import Source
from agent.backup.restore_plan import Piece
from agent.contract.backup_views import BackupKind
from agent.contract.canonical_json import canonical
from agent.errors import BackupUnusable
from agent.runtime.clock import rfc3339
from agent.store import chain
from tests.kit.store_records import sale

J1, J2 = "0192f6d0-7c1e-7000-8000-00000000000a", "0192f6d0-7c1e-7000-8000-00000000000b"
BASE, END_1, END_2 = 30, 40, 60
BEGAN = datetime(2026, 11, 21, 2, tzinfo=UTC)

Trouble = Literal["none", "header", "middle", "end"]
"""Where a file turns out to be unusable."""


def stored_at(sequence: int) -> datetime:
    return BEGAN + timedelta(minutes=sequence)


@cache
def chain_of(journal_id: str) -> tuple[Entry, ...]:
    """All entries of a journal, ancestors' included, from 1 on."""
    kept = chain_of(J1)[:BASE] if journal_id == J2 else ()
    last = END_1 if journal_id == J1 else END_2
    made = list(kept)
    before = bytes.fromhex(made[-1].hash) if made else chain.genesis(J1)
    for sequence in range(len(made) + 1, last + 1):
        record = canonical(sale(stan=f"{sequence:06d}", memo=journal_id[-1]))
        before = chain.link(before, sequence, chain.record_digest(record))
        made.append(Entry(sequence, rfc3339(stored_at(sequence)), Raw(record), before.hex()))
    return tuple(made)


def lineage_of(journal_id: str) -> tuple[JournalLine, ...]:
    first = JournalLine(J1, 0, chain.genesis(J1).hex(), None, 1, "new")
    base = chain_of(J1)[BASE - 1].hash
    return (first,) if journal_id == J1 else (first, JournalLine(J2, BASE, base, J1, 2, "restored"))


class File(NamedTuple):
    """One file as a test describes it."""

    journal_id: str
    kind: BackupKind
    first: int
    last: int
    trouble: Trouble = "none"
    copy: int = 0

    @property
    def piece(self) -> Piece:
        made = stored_at(self.last)
        name = file_name(self.kind, self.first, self.last, made, f"{self.copy:08x}" + "0" * 56)
        digest = f"{self.copy:08x}"
        says = FileName(self.kind, self.first, self.last, made if self.kind == "snapshot" else None, digest)
        return Piece(self.journal_id, f"shop-1/T-0001/{self.journal_id}/{name}", says)

    @property
    def anchor(self) -> AnchorPoint:
        before = chain.genesis(J1).hex() if self.first == 1 else chain_of(self.journal_id)[self.first - 2].hash
        return AnchorPoint(self.first - 1, before)

    def header(self) -> Header:
        return Header(
            kind=self.kind,
            site="shop-1",
            terminal="T-0001",
            serial="SN1",
            journal_id=self.journal_id,
            journals=lineage_of(self.journal_id),
            anchor=self.anchor,
            from_seq=self.first,
            upto_seq=self.last,
            missing=(),
            made_at=rfc3339(stored_at(self.last)),
            version="0.1.0",
            schema=5,
        )

    def parts(self) -> Iterator[Part]:
        entries = chain_of(self.journal_id)[self.first - 1 : self.last]
        for index, entry in enumerate(entries):
            if self.trouble == "middle" and index == len(entries) // 2:
                raise BackupUnusable("damaged in its middle")
            yield entry
        if self.trouble == "end":
            raise BackupUnusable("damaged at its end")
        yield Trailer(entries=len(entries), rows=0, chain=entries[-1].hash, sha256="0" * 64)


class MemorySource(Source, frozen=True):
    """Gives out what tests describe."""

    files: dict[str, File]

    @contextlib.contextmanager
    def opened(self, piece: Piece) -> Iterator[tuple[Header, Iterator[Part]]]:
        file = self.files[piece.file]
        if file.trouble == "header":
            raise BackupUnusable("damaged at its beginning")
        yield file.header(), file.parts()


def source_of(files: list[File]) -> MemorySource:
    return MemorySource(Path("/nowhere"), (), "another key", {one.piece.file: one for one in files})
