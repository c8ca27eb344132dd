"""A child: make the new file that takes the place of a damaged one, with all that must be known before the first write.

``python -m agent.store.rebuild_begin`` reads a `Job` and answers the `Rebuild` that is then under way. The tables
beside the entries come over; the entries follow later, while recording goes on (``rebuild_entries.py``). What matters
here is the number of the next entry: none that may have been acknowledged is ever given out again.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from agent.runtime.boot_identity import UNKNOWN_BOOT
from agent.runtime.identifiers import uuid7
from agent.runtime.parent import read_job
from agent.store import chain, journals, meta, rebuild
from agent.store.anchor import Anchor, anchor, move_anchor
from agent.store.rebuild import Rebuild
from agent.store.salvage import WINDOW, Accepted, Salvage
from agent.store.schema import initialise
from agent.store.sqlite import Connection, DatabaseError, connect_writer, open_readonly
from agent.store.sqlite_pages import PageFile
from agent.store.table_salvage import copy_tables
from agent.store.tail_witness import BLOCK, Witness, read_witness

_FUTURE_TOLERANCE: Final = timedelta(minutes=5)
_TIMES: Final = (("commands", "updated_at"), ("health_history", "at"), ("outbox", "queued_at"))
_KEPT_IN_META: Final = ("schema_usable_from",)
_WINDOWS_LOOKED_AT: Final = 8


class Job(Struct, frozen=True):
    """What the writer asks for.

    Attributes:
        set_aside: The damaged file, its WAL beside it; empty when nothing was left of it.
        new: The file to make; what lies there is of an attempt that was cut off.
        witness: The journal's ``agent.tail``.
        boot_id: Of the machine now.
        reason, found_at: For the report.
    """

    set_aside: str
    new: str
    witness: str
    boot_id: str
    reason: str
    found_at: str


class _Old(NamedTuple):
    """The damaged file, for SQLite and without it."""

    path: Path
    pages: PageFile


class _End(NamedTuple):
    """Where the old journal ended: the last sequence that may have been given out, and the last hash known."""

    base: Anchor
    is_certain: bool


def begin(job: Job) -> Rebuild:
    """Make the new file. Raises DatabaseError, OSError: nothing counts then."""
    new = Path(job.new)
    for leftover in (new, *(new.with_name(f"{new.name}{end}") for end in ("-wal", "-shm"))):
        leftover.unlink(missing_ok=True)
    new.touch(mode=0o600)
    source = Path(job.set_aside)
    pages = PageFile(source, source.with_name(f"{source.name}-wal"))
    db = connect_writer(new)
    try:
        initialise(db, datetime.fromisoformat(job.found_at))
        db.execute("BEGIN IMMEDIATE")
        state = _fill(db, job, _Old(source, pages))
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        db.close()
        pages.close()
    return state


def _fill(db: Connection, job: Job, old: _Old) -> Rebuild:
    kept = {name: meta.get(db, name) for name in _KEPT_IN_META}
    db.execute("DELETE FROM meta")
    db.execute("DELETE FROM journals")
    spoilt = copy_tables(old.path, old.pages, db)
    before = rebuild.under_way(db)
    for name, value in kept.items():
        meta.put(db, name, value or "")
    witness = read_witness(Path(job.witness))
    parent = meta.journal_id(db) or _last_journal(db) or (witness.journal_id if witness is not None else "")
    if witness is not None and witness.journal_id != parent:
        witness = None  # it speaks of another journal
    start = _start(db, parent)
    known = {one.base.sequence: one.base.hash for one in journals.journals(db) if one.base.sequence}
    if start is not None:
        known[start.sequence] = start.hash
    if before is not None:
        known.update({sequence: bytes.fromhex(hash_) for sequence, hash_ in before.known_hashes})
    end = _end(old, witness, known, start, job.boot_id)
    known.setdefault(end.base.sequence, end.base.hash)
    if witness is not None:
        known[witness.sequence] = witness.hash
    journal_id = uuid7()
    began_at = _began_at(
        db, datetime.fromisoformat(job.found_at), orders_are_known=not {"commands", "meta"} & set(spoilt)
    )
    _continue(db, parent, journal_id, end.base, began_at)
    move_anchor(db, start or Anchor(0, chain.genesis(journal_id)))
    first = start.sequence if start is not None else 0
    if end.base.sequence > first:
        rebuild.note_missing(db, [(first + 1, end.base.sequence, "damage")])  # until they are back
    state = Rebuild(
        files=(old.path.name, *(before.files if before is not None else ())),
        reason=job.reason,
        found_at=job.found_at,
        journal_id=journal_id,
        parent=parent or None,
        base=end.base.sequence,
        base_is_certain=end.is_certain,
        anchor=first,
        anchor_hash=start.hash.hex() if start is not None else "",
        known_hashes=tuple((sequence, hash_.hex()) for sequence, hash_ in sorted(known.items())),
        below=end.base.sequence // WINDOW + 1,
        tables=tuple(spoilt),
    )
    rebuild.put_state(db, state)
    return state


def _start(db: Connection, parent: str) -> Anchor | None:
    """Where the old file's chain began; None when nothing tells."""
    if meta.get(db, "journal_anchor"):
        return anchor(db)
    first = next((one for one in journals.journals(db) if one.parent is None), None)
    try:
        return Anchor(0, chain.genesis(first.journal_id if first is not None else parent))
    except ValueError:
        return None


def _last_journal(db: Connection) -> str:
    known = journals.journals(db)
    return known[-1].journal_id if known else ""


def _end(old: _Old, witness: Witness | None, known: dict[int, bytes], start: Anchor | None, boot_id: str) -> _End:
    if witness is None:
        last = _highest_read(old, known)
        if last is None:
            return _End(Anchor((start.sequence if start else 0) + BLOCK, start.hash if start else bytes(32)), False)
        return _End(Anchor(last.sequence + BLOCK, last.hash), False)
    sequence, hash_ = _follow(old, Anchor(witness.sequence, witness.hash))
    if witness.boot_id == boot_id != UNKNOWN_BOOT:
        return _End(Anchor(sequence, hash_), True)
    return _End(Anchor(max(sequence, witness.reserved), hash_), sequence >= witness.reserved)


def _follow(old: _Old, after: Anchor) -> Anchor:
    """The end of what links to the witness's last entry: what was committed and not told any more."""
    found: dict[int, list[tuple[bytes, bytes]]] = {}
    salvage = Salvage([old.pages], {}, wal_only=True)
    for window in salvage.windows():
        if (window + 1) * WINDOW > after.sequence:
            for sequence, candidates in salvage.candidates(window).items():
                found.setdefault(sequence, []).extend((one.digest, one.hash) for one in candidates)
    for sequence, digest, hash_ in _rows_after(old.path, after.sequence):
        found.setdefault(sequence, []).append((digest, hash_))
    while True:
        following = [
            hash_
            for digest, hash_ in found.get(after.sequence + 1, [])
            if chain.link(after.hash, after.sequence + 1, digest) == hash_
        ]
        if not following:
            return after
        after = Anchor(after.sequence + 1, following[0])


def _rows_after(source: Path, sequence: int) -> list[tuple[int, bytes, bytes]]:
    """By SQLite, as far as it answers."""
    rows: list[tuple[int, bytes, bytes]] = []
    try:
        db = open_readonly(source)
    except DatabaseError:
        return rows
    query = "SELECT sequence, record, hash FROM entries WHERE sequence > ? ORDER BY sequence LIMIT 10000"
    try:
        for number, record, hash_ in db.execute(query, (sequence,)):
            if isinstance(record, str) and isinstance(hash_, bytes):
                rows.append((number, chain.record_digest(record.encode()), hash_))
    except DatabaseError:
        pass
    finally:
        db.close()
    return rows


def _highest_read(old: _Old, known: dict[int, bytes]) -> Accepted | None:
    """The last entry that the chain vouches for. Garbage may claim any number, so the newest windows are judged."""
    salvage = Salvage([old.pages], known)
    for looked_at, window in enumerate(salvage.windows()):
        accepted = salvage.accepted(window)
        if any(one.is_proven for one in accepted) or (accepted and looked_at >= _WINDOWS_LOOKED_AT):
            return accepted[-1]
    return None


def _began_at(db: Connection, now: datetime, *, orders_are_known: bool) -> datetime:
    """Orders issued before this are refused: none that was carried out and forgotten with the file happens twice.

    No earlier than the last order, for a clock that was set back. Where orders are lost: no earlier than anything that
    the old file tells of, and later by as much as the operator's clock may be ahead of ours. Only then: a clock that
    was years ahead for a moment leaves its mark in the history, and would have orders refused for a year.
    """
    latest = now
    for table, column in _TIMES[:1] if orders_are_known else _TIMES:
        (at_ms,) = db.execute(f"SELECT max({column}) FROM {table}").fetchone()  # noqa: S608  # names of our own
        if isinstance(at_ms, int) and at_ms > latest.timestamp() * 1000:
            latest = now + timedelta(milliseconds=min(at_ms - now.timestamp() * 1000, 366 * 86_400_000))
    return latest if orders_are_known else latest + _FUTURE_TOLERANCE


def _continue(db: Connection, parent: str, journal_id: str, base: Anchor, began_at: datetime) -> None:
    if parent:
        meta.put(db, "journal_id", parent)
        if not any(one.journal_id == parent for one in journals.journals(db)):
            journals.note_present(db, began_at)
        journals.continue_journal(db, journal_id, base, began_at, cause="rebuilt")
        return
    db.execute(
        "INSERT INTO journals (journal_id, base_sequence, base_hash, parent, began_at, cause)"
        " VALUES (?, ?, ?, NULL, ?, 'rebuilt')",
        (journal_id, base.sequence, base.hash, int(began_at.timestamp() * 1000)),
    )
    meta.rename_journal(db, journal_id, began_at)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(begin(msgspec.json.decode(read_job(), type=Job))) + b"\n")
