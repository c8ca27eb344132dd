"""What a store holds, for reports, checks and exports: one state of it, in the order of sites and terminals."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from agent.fleet.collector.database import Session
from agent.fleet.collector.held import Place, Rows
from agent.fleet.collector.rules import Head, Journal
from agent.store.chain import genesis


class Held(NamedTuple):
    """One journal of one terminal."""

    place: Place
    site: str
    terminal: str
    serial: str | None
    journal: Journal
    entries: int
    unknown_form: int
    first_ms: int
    last_ms: int


class Recorded(NamedTuple):
    """A gap on record, as found first and as it is now. ``filled_ms`` None: still open."""

    first_seq: int
    from_seq: int
    upto_seq: int
    after_hash: bytes
    found_ms: int
    filled_ms: int | None


class StoredEntry(NamedTuple):
    """One entry as it stands in the store."""

    sequence: int
    at: str
    record: str
    hash: bytes
    mark: str | None
    received_ms: int


def store_option(parser: argparse.ArgumentParser) -> None:
    """Options of every verb that reads a store."""
    parser.add_argument("--store", required=True, metavar="STORE", help="sqlite:///PATH, a path, or postgresql://…")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON, times as RFC 3339")
    parser.add_argument("--socket", help=argparse.SUPPRESS)  # every verb takes it; these need no agent


def journals(session: Session, kind: str | None = None) -> list[Held]:
    """Every journal in the store, a terminal's own ones in the order in which they began."""
    rows = session.rows(
        "SELECT j.id, j.terminal, j.kind, t.site, t.terminal, t.serial, j.journal_id, j.upto, j.hash, j.begun,"
        " j.parent, j.base, j.since_ms, j.asks, j.asked_ms, j.forked, j.entries, j.unknown_form, j.first_ms, j.last_ms"
        " FROM journals j JOIN terminals t ON t.id = j.terminal ORDER BY t.site, t.terminal, j.kind, j.id"
    )
    found = []
    for row in rows:
        journal_id, upto, hash_, begun, parent, base, since_ms, asks, asked_ms, forked = row[6:16]
        state = Journal(
            journal_id, Head(upto, bytes(hash_)), bool(begun), parent, base, since_ms, asks, asked_ms, bool(forked)
        )
        site, terminal, serial = row[3:6]
        found.append(Held(Place(*row[:3]), site, terminal, serial, state, *row[16:]))
    return [one for one in found if kind in {None, one.place.kind}]


def entries(session: Session, number: int, above: int = 0) -> Iterator[StoredEntry]:
    """A journal's own entries with a sequence beyond ``above``, in order."""
    for sequence, at, record, hash_, mark, received_ms in session.stream(
        "SELECT sequence, at, record, hash, mark, received_ms FROM entries WHERE journal = ? AND sequence > ?"
        " ORDER BY sequence",
        (number, above),
    ):
        yield StoredEntry(sequence, at, record, bytes(hash_), mark, received_ms)


def gaps(session: Session) -> dict[int, list[Recorded]]:
    """Journal's row → its gaps in order."""
    found: dict[int, list[Recorded]] = {}
    for journal, first, from_seq, upto_seq, after, found_ms, filled_ms in session.rows(
        "SELECT journal, first_seq, from_seq, upto_seq, after_hash, found_ms, filled_ms FROM gaps"
        " ORDER BY journal, first_seq"
    ):
        found.setdefault(journal, []).append(Recorded(first, from_seq, upto_seq, bytes(after), found_ms, filled_ms))
    return found


def forks(session: Session) -> dict[int, list[int]]:
    """Journal's row → sequences of which another entry came, too."""
    found: dict[int, list[int]] = {}
    for journal, sequence in session.rows("SELECT DISTINCT journal, sequence FROM forks ORDER BY journal, sequence"):
        found.setdefault(journal, []).append(sequence)
    return found


def before_first(session: Session, held: Held) -> bytes | None:
    """The chain before a journal's own first entry; None when the parent's entry is not there."""
    journal = held.journal
    if journal.parent is None:
        return genesis(journal.journal_id)
    if journal.base == 0:
        return _first_genesis(session, held)
    return Rows(session).lineage_hashes(held.place, journal, journal.base, journal.base).get(journal.base)


def _first_genesis(session: Session, held: Held) -> bytes | None:
    """Of the journal that all ancestors go back to."""
    by_id = {
        one.journal.journal_id: one.journal for one in journals(session) if one.place.terminal == held.place.terminal
    }
    journal, seen = held.journal, {held.journal.journal_id}
    while journal.parent is not None and journal.parent in by_id and journal.parent not in seen:
        journal = by_id[journal.parent]
        seen.add(journal.journal_id)
    if journal.parent is None:
        return genesis(journal.journal_id)
    # A parent that is not held: a journal begins at 0 after one of those only where that is the first of all.
    return genesis(journal.parent) if journal.parent not in by_id else None


def utc(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def utc_text(at: datetime) -> str:
    """``2026-11-21T02:00:00.123Z``."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
