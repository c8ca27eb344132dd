"""A journal given back from backup files: entries proved while they come in, then everything else, into a new database.

Nothing here decides where the database lies, whether holes are acceptable, or what becomes of open runs: whoever asks
does. A file that turns out unusable is named, and what others hold of it is taken from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from agent.backup.file_format import Entry, Header, JournalLine, Part, Row, Table
from agent.backup.filling import fill
from agent.backup.lineage import Lineage, Source, Unusable, journal_rows
from agent.backup.restore_plan import Piece, Plan, Until, lineage_at
from agent.contract.journal_views import EntryItem
from agent.errors import BackupUnusable, NeedsPerson, NotFound
from agent.store import chain, entry_rows
from agent.store import restored_rows as rows
from agent.store.anchor import Anchor, anchor, move_anchor
from agent.store.database import Connection
from agent.store.journals import Journal

_AT_ONCE: Final = 500


class Wanted(Struct, frozen=True):
    """What to restore: this lineage, from these files of one terminal, up to a point."""

    source: Source
    pieces: Sequence[Piece]
    lineage: Lineage
    until: Until


class Restored(Struct, frozen=True, kw_only=True):
    """What a new database holds.

    Attributes:
        first, last: Sequence and time (milliseconds since 1970 UTC) of the first and the last entry; None: no entry.
        begin: What stands before the first entry.
        end: The last entry; or the last sequence that was given out, and what the next entry continues.
        missing: Sequences without an entry in between.
        lost_tail: Sequences after the last entry that files are named for, and none could be read; None: none.
        site, terminal, serial: Of the unit that the last file used was made on.
        newest_at: When the newest of the files used was made.
        snapshot: The file that orders, locks and faults come from; None: from none, they are not in it.
    """

    journals: Sequence[JournalLine]
    entries: int
    first: tuple[int, int] | None
    last: tuple[int, int] | None
    begin: Anchor
    end: Anchor
    missing: Sequence[rows.Gap]
    lost_tail: rows.Gap | None
    used: Sequence[str]
    unusable: Sequence[Unusable]
    snapshot: str | None
    site: str
    terminal: str
    serial: str
    newest_at: datetime


class Restoring:
    """One restore into one new database. ``tell(done, total)``: entries so far, and how many there should be."""

    def __init__(self, db: Connection, wanted: Wanted, tell: Callable[[int, int], None]) -> None:
        self._db, self._wanted, self._tell = db, wanted, tell
        self._source, self._lineage, self._until = wanted.source, wanted.lineage, wanted.until
        self._plan = Plan(wanted.pieces, wanted.lineage.journals, wanted.until)
        self._unusable: dict[str, str] = {}
        self._used: list[str] = []
        self._tables: dict[str, rows.TableRows] = {}
        self._snapshot: tuple[Piece, Header] | None = None
        self._newest: Header | None = None
        self._known_gaps: list[tuple[rows.Gap, str]] = []
        self._last = Anchor(0, b"")  # of what has come in; no hash: it is not known what comes before the next entry

    def restore(self, now: datetime, serial: str) -> Restored:
        """Fill the database, which is new and in a transaction; commit, or the lack of it, is the caller's.

        Args:
            serial: Of this unit: what devices were like is only taken from itself.

        Raises:
            NeedsPerson: Not one file could be used.
            NotFound: There is nothing up to the point that was asked for.
            BackupUnusable: What came in is not what was proved when it is read again.
        """
        self._go_on(self._begin())
        header = self._newest_header()
        was_cut = self._until.at is not None and self._cut(self._until.at)
        extent = rows.extent(self._db)
        if extent is None and (self._until != Until() or self._snapshot is None):
            raise NotFound("there is no entry up to the point that was asked for", field="--until")
        last = extent[1][0] if extent is not None else anchor(self._db).sequence
        lines = lineage_at(self._lineage.journals, last if self._until.at is not None else self._until.sequence)
        bases = rows.bases_of(journal_rows(lines))
        self._fill_holes(journal_rows(lines))
        extent = rows.extent(self._db)
        proof = rows.prove(self._db, bases, lambda done: self._tell(done, self._plan.goal))
        if proof.broken_at is not None:
            raise BackupUnusable(f"entry {proof.broken_at} is not as it was read from the backup", hint="try again")
        rows.write_missing(self._db, [(gap, self._cause(gap)) for gap in proof.gaps])
        if self._snapshot is not None:
            of_snapshot = self._snapshot[1]
            rows.load_tables(self._db, self._tables, of_snapshot.schema, now, same_unit=of_snapshot.serial == serial)
        end = max(proof.end, *(Anchor(*base) for base in bases.items()), key=lambda one: one.sequence)
        lost_tail = rows.Gap(end.sequence + 1, self._plan.goal) if end.sequence < self._plan.goal else None
        return Restored(
            journals=lines,
            entries=proof.entries,
            first=extent and extent[0],
            last=extent and extent[1],
            begin=anchor(self._db),
            end=end,
            missing=proof.gaps,
            lost_tail=None if was_cut else lost_tail,
            used=self._used,
            unusable=[Unusable(file, problem) for file, problem in self._unusable.items()],
            snapshot=self._snapshot and self._snapshot[0].file,
            site=header.site,
            terminal=header.terminal,
            serial=header.serial,
            newest_at=datetime.fromisoformat(header.made_at),
        )

    # ── entries ────────────────────────────────────────────────────────────────────────────────────────────────
    def _begin(self) -> int:
        """Take the best snapshot that is whole; without one begin where segments do. The next position."""
        for piece in self._plan.snapshots():
            self._tables.clear()
            if self._take(piece, piece.says.from_seq, is_beginning=True):
                return max(self._plan.reach(piece), self._last.sequence) + 1
        self._tables.clear()
        return 1

    def _go_on(self, position: int) -> None:
        """Take file after file to the end, or to where there is nothing more."""
        while position <= self._plan.goal:
            piece = self._plan.next_piece(position, self._unusable)
            if piece is None:
                later = self._plan.next_position(position, self._unusable)
                if later is None:
                    return
                position = later
                continue
            is_beginning = not self._used
            if self._take(piece, position, is_beginning=is_beginning):
                position = max(self._plan.reach(piece), self._last.sequence) + 1

    def _take(self, piece: Piece, position: int, *, is_beginning: bool) -> bool:
        """Entries of a file from ``position`` on, and its tables where it is the beginning; False: it is unusable."""
        before = self._last
        try:
            with self._source.opened(piece) as (header, parts):
                if is_beginning:
                    self._last = self._beginning(header)
                    move_anchor(self._db, self._last)
                for items in _portions(self._entries(parts, position, self._plan.reach(piece), is_beginning)):
                    entry_rows.put_back(self._db, items)
                    self._tell(self._last.sequence, self._plan.goal)
        except (BackupUnusable, msgspec.ValidationError) as err:
            rows.remove_from(self._db, position)
            self._last = before
            self._unusable[piece.file] = (
                err.message
                if isinstance(err, BackupUnusable)
                else "a record has a form that this release does not know"
            )
            return False
        self._used.append(piece.file)
        self._known_gaps += [(rows.Gap(gap.from_seq, gap.upto_seq), gap.cause) for gap in header.missing]
        if is_beginning and header.kind == "snapshot":
            self._snapshot = (piece, header)
        if self._newest is None or header.made_at > self._newest.made_at:
            self._newest = header
        return True

    def _beginning(self, header: Header) -> Anchor:
        """What stands before the first entry: a snapshot proves it; without one, all from 1 on should be there."""
        if header.kind == "snapshot":
            return Anchor(header.anchor.sequence, bytes.fromhex(header.anchor.hash))
        return Anchor(0, chain.genesis(header.journals[0].journal_id))

    def _entries(self, parts: Iterator[Part], position: int, reach: int, keep_tables: bool) -> Iterator[Entry]:
        """Those that are wanted, each linked to the one before; the rest is read, too: only the end proves a file."""
        into: list[tuple[rows.Value, ...]] = []
        for part in parts:
            match part:
                case Entry() if position <= part.seq <= reach:
                    self._link(part)
                    yield part
                case Table() if keep_tables:
                    into = []
                    self._tables[part.table] = rows.TableRows(part.columns, into)
                case Row() if keep_tables:
                    into.append(part.row)

    def _link(self, entry: Entry) -> None:
        stored = bytes.fromhex(entry.hash)
        if entry.seq == self._last.sequence + 1:
            digest = chain.record_digest(bytes(entry.record))
            if stored != chain.link(self._last.hash, entry.seq, digest):
                raise BackupUnusable(
                    f"its entry {entry.seq} does not continue what the other files hold",
                    hint="it may be of a journal that was set back; name the right one by --journal",
                )
        self._last = Anchor(entry.seq, stored)

    def _cut(self, at: datetime) -> bool:
        """Forget what was stored after a point in time; True when there was something."""
        last = rows.last_stored_by(self._db, at)
        extent = rows.extent(self._db)
        if extent is None or extent[1][0] <= last:
            return False
        rows.remove_from(self._db, last + 1)
        return True

    def _fill_holes(self, lineage: Sequence[Journal]) -> None:
        """What the chosen files lack another journal's may have: from before damage, or from a branch given up."""
        gaps = rows.prove(self._db, rows.bases_of(lineage)).gaps
        left = [one for one in self._wanted.pieces if one.file not in self._unusable and one.file not in self._used]
        if gaps and left:
            filled = fill(self._db, gaps, lineage, left, self._source.opened)
            self._used += filled.used
            self._unusable.update(filled.unusable)

    def _cause(self, gap: rows.Gap) -> str:
        for known, cause in self._known_gaps:
            if known.first <= gap.first and gap.last <= known.last:
                return cause
        return "backup"

    def _newest_header(self) -> Header:
        if self._newest is None:
            named = "; ".join(f"{file}: {problem}" for file, problem in self._unusable.items())
            raise NeedsPerson(f"not one file could be used: {named or 'none reaches that far'}")
        return self._newest


def _portions(entries: Iterator[Entry]) -> Iterator[list[EntryItem]]:
    items: list[EntryItem] = []
    for entry in entries:
        items.append(entry.item)
        if len(items) >= _AT_ONCE:
            yield items
            items = []
    if items:
        yield items
