"""A child: is the journal as it was stored? The tables' trees and the whole chain, read in short transactions.

``python -m agent.store.check_file`` reads a `Job` and answers a `Finding`. A file of more than 512 MiB has its entries
read one by one like any other, but not the trees of their indexes: that would be one long read transaction, and damage
there shows by itself when the index is used.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from agent.runtime.parent import end_with_parent, read_job
from agent.store import chain, journals
from agent.store.anchor import anchor
from agent.store.sqlite import Connection, DatabaseError, is_damage, open_readonly, reason

ENTRIES_PER_READ: Final = 5_000
MAX_MISSING: Final = 100
_CHECK_WHOLE_BYTES: Final = 512 * 1024 * 1024
_CACHE_KIB: Final = 2048
_BEGINNING: Final = object()


class Job(Struct, frozen=True):
    """``path``: the database's."""

    path: str


class Finding(Struct, frozen=True):
    """``missing``: at most 100. ``damage``: in words, None where there is none that is not written down already."""

    intact: bool
    upto_sequence: int
    missing: list[int]
    damage: str | None = None


class Expected(NamedTuple):
    """Where the chain begins, what it was at the beginning of each journal, and which spans are known to be missing."""

    sequence: int
    hash: bytes
    bases: dict[int, bytes]
    spans: list[tuple[int, int]]
    upto: int


def check(path: Path) -> Finding:
    """Look at everything. Raises DatabaseError where that says nothing about the file (a lock, no memory)."""
    if not path.exists():
        return Finding(False, 0, [], "the database file is gone")
    try:
        with closing(open_readonly(path, cache_kib=_CACHE_KIB)) as db:
            wrong = _tables(db, path)
            if wrong is not None:
                return Finding(False, 0, [], wrong)
            db.execute("BEGIN")
            expected = _expected(db)
            db.execute("ROLLBACK")
            return _chain(_entries(db, expected), expected)
    except DatabaseError as err:
        if not is_damage(err):
            raise
        return Finding(False, 0, [], f"the database cannot be read: {reason(err)}")


def _tables(db: Connection, path: Path) -> str | None:
    large = path.stat().st_size > _CHECK_WHOLE_BYTES
    for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        if name.startswith("sqlite_") or (large and name == "entries"):
            continue
        found = db.execute(f"PRAGMA quick_check({name})").fetchone()
        if found != ("ok",):
            return f"table {name} is damaged"
    return None


def _expected(db: Connection) -> Expected:
    start = anchor(db)
    (last,) = db.execute("SELECT coalesce(max(sequence), 0) FROM entries").fetchone()
    known = journals.journals(db)
    upto = max([last, *(one.base.sequence for one in known)])
    spans = db.execute("SELECT from_seq, upto_seq FROM missing ORDER BY from_seq").fetchall()
    return Expected(*start, {one.base.sequence: one.base.hash for one in known}, spans, upto)


def _entries(db: Connection, expected: Expected) -> Iterator[tuple[int, object, object]]:
    after = expected.sequence
    query = "SELECT sequence, record, hash FROM entries WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"
    while True:
        db.execute("BEGIN")
        begins = anchor(db)
        rows = db.execute(query, (after, expected.upto, ENTRIES_PER_READ)).fetchall()
        db.execute("ROLLBACK")
        if begins.sequence > after:  # retention has taken what comes next
            yield begins.sequence, _BEGINNING, begins.hash
        yield from rows
        if len(rows) < ENTRIES_PER_READ:
            return
        after = rows[-1][0]


def _chain(entries: Iterator[tuple[int, object, object]], expected: Expected) -> Finding:
    """The check itself, pure. After a hole the first entry's hash is taken as it is: what it follows from is gone.

    In place of entries that retention takes meanwhile comes one with `_BEGINNING`: where the journal begins now.
    """
    following, before = expected.sequence + 1, expected.hash
    upto, missing, damage, intact = expected.sequence, list[int](), None, True

    def hole(upto_sequence: int) -> None:
        nonlocal intact, damage
        intact = False
        missing.extend(range(following, min(upto_sequence + 1, following + MAX_MISSING - len(missing))))
        if damage is None and not _is_covered(following, upto_sequence, expected.spans):
            damage = f"entries {following} to {upto_sequence} are gone"

    for sequence, record, hash_ in entries:
        if record is _BEGINNING and isinstance(hash_, bytes):
            following, before = sequence + 1, hash_
            upto = sequence if intact else upto
            continue
        known_before: bytes | None = before
        if sequence > following:
            hole(sequence - 1)
            known_before = expected.bases.get(sequence - 1)
        if not isinstance(record, str) or not isinstance(hash_, bytes):
            return Finding(False, upto, missing, damage or f"entry {sequence} is not as it was stored")
        computed = chain.link(known_before or b"", sequence, chain.record_digest(record.encode()))
        if known_before is not None and computed != hash_:
            return Finding(False, upto, missing, damage or f"entry {sequence} is not as it was stored")
        following, before = sequence + 1, hash_
        upto = sequence if intact else upto
    if following <= expected.upto:
        hole(expected.upto)
    return Finding(intact, upto, missing, damage)


def _is_covered(first: int, last: int, spans: list[tuple[int, int]]) -> bool:
    for begin, end in spans:
        if begin <= first <= end:
            first = end + 1
        if first > last:
            return True
    return False


if __name__ == "__main__":
    os.nice(19)
    job = msgspec.json.decode(read_job(), type=Job)
    end_with_parent()
    sys.stdout.buffer.write(msgspec.json.encode(check(Path(job.path))) + b"\n")
