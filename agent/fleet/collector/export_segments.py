"""The collector's copy of a journal as backup files, encrypted to a terminal's own key: its way back to the terminal.

``pos-agent restore --from`` and ``--fill --from`` read them like any target's. One journal at least a file, its own
entries only; ancestors have files of their own. A gap on record is named as missing.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Raw

from agent import __version__
from agent.backup import age
from agent.backup.file_format import AnchorPoint, Entry, Gap, Header, JournalLine, Writer, compressing
from agent.backup.file_names import file_name, folder_of, name_in_work
from agent.contract.journal_views import Mark
from agent.errors import BadRequest
from agent.fleet.collector import reading
from agent.fleet.collector.database import Session
from agent.fleet.collector.reading import Held, Recorded, StoredEntry
from agent.fleet.screen import Screen
from agent.runtime.durable_files import sync_folder
from agent.store.chain import genesis
from agent.store.schema import migrations

SEGMENT_ENTRIES: Final = 10_000
_CAUSE: Final = "backup"  # of what is missing in a file that is no terminal's own journal
_READ_BYTES: Final = 1024 * 1024


def write(session: Session, chosen: Sequence[Held], out: Path, recipients: Sequence[str], screen: Screen) -> int:
    """Write every journal in ``chosen`` below the folder ``out``; gives the number of entries.

    Raises:
        BadRequest: ``out`` is a file, or a recipient is no public key of age.
        OSError: It cannot be written.
    """
    engine = age.present()
    for recipient in recipients:
        engine.check_recipient(recipient)
    if out.exists() and not out.is_dir():
        raise BadRequest(f"{out} is no folder", field="--out")
    by_terminal: dict[int, list[Held]] = {}
    for held in reading.journals(session, "txn"):
        by_terminal.setdefault(held.place.terminal, []).append(held)
    gaps = reading.gaps(session)
    written = 0
    for held in chosen:
        folder = out / folder_of(held.site, held.terminal, held.journal.journal_id)
        lines = _lineage(session, held, by_terminal[held.place.terminal])
        for anchor, missing, entries in _segments(session, held, gaps.get(held.place.number, [])):
            header = Header(
                kind="segment",
                site=held.site,
                terminal=held.terminal,
                serial=held.serial or "",
                journal_id=held.journal.journal_id,
                journals=lines,
                anchor=anchor,
                from_seq=anchor.sequence + 1,
                upto_seq=entries[-1].sequence,
                missing=missing,
                made_at=reading.utc_text(datetime.now(UTC)),
                version=__version__,
                schema=migrations()[-1].version,
            )
            folder.mkdir(parents=True, exist_ok=True)
            _write_file(engine, folder, header, entries, recipients)
            written += len(entries)
            screen.progress(f"{held.site}/{held.terminal}: {written:,} entries")
    return written


def _segments(
    session: Session, held: Held, gaps: Sequence[Recorded]
) -> Iterator[tuple[AnchorPoint, tuple[Gap, ...], list[StoredEntry]]]:
    """A journal's own entries in runs, each with the chain before it and what is missing within it."""
    open_gaps = {gap.upto_seq + 1: gap for gap in gaps if gap.filled_ms is None}
    chain, at = reading.before_first(session, held), held.journal.base
    run: list[StoredEntry] = []
    missing: list[Gap] = []
    anchor = None if chain is None else AnchorPoint(at, chain.hex())
    for entry in reading.entries(session, held.place.number):
        gap = open_gaps.get(entry.sequence)
        unproven = gap is not None and gap.upto_seq < gap.from_seq
        if unproven or anchor is None:
            # What it follows is not known: no file could prove it. The next one begins behind it.
            if run and anchor is not None:
                yield anchor, tuple(missing), run
            run, missing, anchor = [], [], AnchorPoint(entry.sequence, entry.hash.hex())
            continue
        if gap is not None:
            missing.append(Gap(gap.from_seq, gap.upto_seq, _CAUSE))
        run.append(entry)
        if len(run) == SEGMENT_ENTRIES:
            yield anchor, tuple(missing), run
            run, missing, anchor = [], [], AnchorPoint(entry.sequence, entry.hash.hex())
    if run and anchor is not None:
        yield anchor, tuple(missing), run


def _lineage(session: Session, held: Held, family: Sequence[Held]) -> tuple[JournalLine, ...]:
    """The journal and its ancestors, oldest first."""
    by_id = {one.journal.journal_id: one for one in family}
    lines: list[JournalLine] = []
    present: Held | None = held
    while present is not None and len(lines) < len(family):
        journal = present.journal
        base = reading.before_first(session, present) or present.journal.head.hash
        cause = "new" if journal.parent is None else "restored"
        lines.append(JournalLine(journal.journal_id, journal.base, base.hex(), journal.parent, present.first_ms, cause))
        present = by_id.get(journal.parent) if journal.parent is not None else None
        if present is None and journal.parent is not None and journal.base == 0:
            # Of the first of all nothing is held, but the chain begins with it.
            lines.append(JournalLine(journal.parent, 0, genesis(journal.parent).hex(), None, held.first_ms, "new"))
    return tuple(reversed(lines))


def _write_file(
    engine: age.Age, folder: Path, header: Header, entries: Sequence[StoredEntry], recipients: Sequence[str]
) -> None:
    """One file, durable and read back; it gets its name when it is whole."""
    temporary = folder / name_in_work("segment", secrets.token_hex(8))
    done = False
    try:
        with temporary.open("xb") as file:
            with engine.encrypting(file, recipients) as plain, compressing(plain) as packed:
                writer = Writer(packed, header)  # type: ignore[arg-type]  # a GzipFile is such a stream
                for entry in entries:
                    writer.entry(_entry(entry))
                writer.end()
            file.flush()
            os.fsync(file.fileno())
        digest = sha256()
        with temporary.open("rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
        name = file_name("segment", header.from_seq, header.upto_seq, datetime.now(UTC), digest.hexdigest())
        temporary.rename(folder / name)
        done = True
    finally:
        if not done:
            temporary.unlink(missing_ok=True)
    sync_folder(folder)


def _entry(entry: StoredEntry) -> Entry:
    mark = None if entry.mark is None else msgspec.json.decode(entry.mark, type=Mark)
    return Entry(entry.sequence, entry.at, Raw(entry.record.encode()), entry.hash.hex(), mark)
