"""``posctl fleet backup list``: terminals, journals, spans and gaps of a folder, from names alone or in depth."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from agent.backup.place import opened
from agent.backup.restore_key import read_identities
from agent.backup.restore_plan import Piece
from agent.errors import BackupUnusable
from agent.fleet.backup_choice import chosen
from agent.fleet.screen import BAD, GOOD, WARN, Screen


class Bad(Struct, frozen=True):
    """A file that is of no use, and why."""

    file: str
    problem: str


class JournalItem(Struct, frozen=True, kw_only=True):
    """One journal of one terminal.

    Attributes:
        from_seq, upto_seq: The first and the last entry that any usable file is named for.
        gaps: Between them, without a file: first and last of each.
        parent: The journal it continues, after ``base_sequence``; None: none, or (``read`` false) not known.
        newest_snapshot_at: None: there is none.
        read: Every file was read and proved, not only its name.
    """

    site: str
    terminal: str
    journal_id: str
    parent: str | None
    base_sequence: int | None
    segments: int
    snapshots: int
    size_bytes: int
    from_seq: int
    upto_seq: int
    gaps: list[tuple[int, int]]
    newest_snapshot_at: datetime | None
    read: bool
    unusable: list[Bad]


def list_backups(args: argparse.Namespace, screen: Screen) -> int:
    """Print what is there; 1 when a file that was read is not usable."""
    identities = read_identities(args.identity) if args.identity is not None else None
    items = []
    for site, terminal, pieces in chosen(args.folder, args.terminal, args.journal):
        for journal_id in sorted({one.journal_id for one in pieces}):
            of_one = [one for one in pieces if one.journal_id == journal_id]
            items.append(_item(args.folder, (site, terminal, journal_id), of_one, identities, screen))
    if screen.as_json:
        screen.document({"items": items})
    else:
        headings = ["terminal", "journal", "entries", "newest snapshot", "state"]
        screen.table(headings, [_cells(one, screen) for one in items], 4)
        for one in items:
            for first, last in one.gaps:
                screen.line(f"{screen.paint('missing', BAD)} entries {first} to {last} of journal {one.journal_id}")
            for bad in one.unusable:
                screen.line(f"{screen.paint('not usable', BAD)} {screen.plain(bad.file)}: {screen.plain(bad.problem)}")
    return 1 if any(one.unusable for one in items) else 0


def gaps_between(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What lies between the first and the last of ``spans`` (first, last) and in none of them. Pure."""
    gaps: list[tuple[int, int]] = []
    reached: int | None = None
    for first, last in sorted(spans):
        if reached is not None and first > reached + 1:
            gaps.append((reached + 1, first - 1))
        reached = last if reached is None else max(reached, last)
    return gaps


def _item(
    folder: Path,
    named: tuple[str, str, str],
    pieces: Sequence[Piece],
    identities: Sequence[str] | None,
    screen: Screen,
) -> JournalItem:
    unusable: list[Bad] = []
    parent: str | None = None
    base: int | None = None
    usable = []
    for number, piece in enumerate(pieces, 1):
        if identities is not None:
            screen.work(f"reading {number} of {len(pieces)} files of {'/'.join(named[:2])}")
            try:
                with opened(folder, piece, identities) as (header, parts):
                    for _part in parts:
                        pass
                parent, base = header.journals[-1].parent, header.journals[-1].base_sequence
            except BackupUnusable as err:
                unusable.append(Bad(piece.file, err.message))
                continue
        usable.append(piece.says)
    spans = [(one.from_seq, one.upto_seq) for one in usable]
    return JournalItem(
        site=named[0],
        terminal=named[1],
        journal_id=named[2],
        parent=parent,
        base_sequence=base,
        segments=sum(one.says.kind == "segment" for one in pieces),
        snapshots=sum(one.says.kind == "snapshot" for one in pieces),
        size_bytes=sum((folder / one.file).stat().st_size for one in pieces),
        from_seq=min((first for first, _last in spans), default=0),
        upto_seq=max((last for _first, last in spans), default=0),
        gaps=gaps_between(spans),
        newest_snapshot_at=max((one.made_at for one in usable if one.made_at is not None), default=None),
        read=identities is not None,
        unusable=unusable,
    )


def _cells(item: JournalItem, screen: Screen) -> list[tuple[str, str]]:
    newest = screen.local(item.newest_snapshot_at) if item.newest_snapshot_at is not None else "none"
    if item.gaps:
        state = ("INCOMPLETE", BAD)
    elif item.unusable:
        state = ("complete", WARN)
    else:
        state = ("proved" if item.read else "complete", GOOD)
    return [
        (f"{item.site}/{item.terminal}", ""),
        (item.journal_id, ""),
        (f"{item.from_seq} to {item.upto_seq}" if item.upto_seq else "none", ""),
        (newest, "" if item.newest_snapshot_at is not None else WARN),
        state,
    ]
