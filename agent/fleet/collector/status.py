"""``posctl fleet collect status``: what is held of which terminal; gaps, forks and silence are named, and exit 1."""

from __future__ import annotations

import argparse
import time
from datetime import timedelta
from typing import Any, NamedTuple

from agent.errors import BadRequest
from agent.fleet import orders
from agent.fleet.collector import reading
from agent.fleet.collector.database import Session, open_store
from agent.fleet.collector.reading import Held, Recorded
from agent.fleet.screen import BAD, GOOD, WARN, Screen

_SILENT_AFTER = "1d"
_SHOWN_FORKS = 100
_WAIT_MS = 60_000  # where several divide the work messages wait for each other all the time, but not for long


class Refused(NamedTuple):
    """What was not taken of one terminal."""

    reason: str
    detail: str
    messages: int
    last_ms: int


class Report(NamedTuple):
    """One state of the store. Keys: rows of journals and of terminals."""

    journals: list[Held]
    never_sent: list[tuple[int, str, str]]
    gaps: dict[int, list[Recorded]]
    forks: dict[int, list[int]]
    waiting: dict[int, int]
    refused: dict[int, list[Refused]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "What a store holds. Exit 1 when it has a gap, a fork or a refusal, messages wait, or a terminal is silent."
    )
    reading.store_option(parser)
    parser.add_argument(
        "--silent-after",
        default=_SILENT_AFTER,
        metavar="TIME",
        help=f"a terminal that sent nothing for so long counts as silent, as 36h or 2d ({_SILENT_AFTER})",
    )
    parser.set_defaults(run=_status)


def _status(args: argparse.Namespace, screen: Screen) -> int:
    try:
        patience = orders.life(args.silent_after)
    except ValueError as err:
        raise BadRequest(str(err), field="--silent-after") from err
    database = open_store(args.store, create=False)
    try:
        with database.reading() as session:
            report = read(session)
    finally:
        database.close()
    now_ms = time.time_ns() // 1_000_000
    silent = _silent(report, patience, now_ms)
    if screen.as_json:
        screen.document(_document(report, silent))
    else:
        _show(report, silent, screen)
    unfilled = any(gap.filled_ms is None for found in report.gaps.values() for gap in found)
    stuck = any((since := held.journal.since_ms) is not None and since <= now_ms - _WAIT_MS for held in report.journals)
    return 1 if unfilled or stuck or report.forks or report.refused or silent else 0


def read(session: Session) -> Report:
    """Everything that the report tells, from one state of the store."""
    refused: dict[int, list[Refused]] = {}
    for terminal, *rest in session.rows(
        "SELECT terminal, reason, detail, messages, last_ms FROM refusals ORDER BY terminal, reason"
    ):
        refused.setdefault(terminal, []).append(Refused(*rest))
    never = session.rows(
        "SELECT id, site, terminal FROM terminals WHERE NOT EXISTS"
        " (SELECT 1 FROM journals WHERE journals.terminal = terminals.id) ORDER BY site, terminal"
    )
    waiting: dict[int, int] = dict(session.rows("SELECT journal, count(*) FROM waiting GROUP BY journal"))
    return Report(
        reading.journals(session),
        [(number, site, terminal) for number, site, terminal in never],
        reading.gaps(session),
        reading.forks(session),
        waiting,
        refused,
    )


def _silent(report: Report, patience: timedelta, now_ms: int) -> list[tuple[str, str]]:
    """Terminals of which nothing came for longer than ``patience``, or never anything but a birth message."""
    heard: dict[tuple[str, str], int] = {(site, terminal): 0 for _number, site, terminal in report.never_sent}
    for held in report.journals:
        name = held.site, held.terminal
        heard[name] = max(heard.get(name, 0), held.last_ms)
    limit_ms = now_ms - patience.total_seconds() * 1000
    return sorted(name for name, last_ms in heard.items() if last_ms < limit_ms)


def _document(report: Report, silent: list[tuple[str, str]]) -> dict[str, Any]:
    journals = [
        {
            "site": held.site,
            "terminal": held.terminal,
            "serial": held.serial,
            "kind": held.place.kind,
            "journal_id": held.journal.journal_id,
            "parent": held.journal.parent,
            "base_sequence": held.journal.base,
            "entries": held.entries,
            "upto_sequence": held.journal.head.sequence,
            "chain": held.journal.head.hash.hex(),
            "gaps": [
                {
                    "from_seq": gap.from_seq,
                    "upto_seq": gap.upto_seq,
                    "found_at": reading.utc_text(reading.utc(gap.found_ms)),
                }
                for gap in report.gaps.get(held.place.number, [])
                if gap.filled_ms is None
            ],
            "forks": report.forks.get(held.place.number, [])[:_SHOWN_FORKS],
            "waiting_messages": report.waiting.get(held.place.number, 0),
            "unknown_form": held.unknown_form,
            "last_at": reading.utc_text(reading.utc(held.last_ms)),
        }
        for held in report.journals
    ]
    names = {held.place.terminal: (held.site, held.terminal) for held in report.journals}
    names |= {number: (site, terminal) for number, site, terminal in report.never_sent}
    refusals = [
        {
            "site": names[number][0],
            "terminal": names[number][1],
            "reason": one.reason,
            "detail": one.detail,
            "messages": one.messages,
            "last_at": reading.utc_text(reading.utc(one.last_ms)),
        }
        for number, found in report.refused.items()
        for one in found
    ]
    return {
        "journals": journals,
        "refusals": refusals,
        "silent": [{"site": site, "terminal": terminal} for site, terminal in silent],
    }


def _show(report: Report, silent: list[tuple[str, str]], screen: Screen) -> None:
    rows = []
    for held in report.journals:
        troubles = _troubles(report, held)
        if (held.site, held.terminal) in silent:
            troubles.append("silent")
        what = held.journal.journal_id[:8] + ("" if held.place.kind == "txn" else f" {held.place.kind}")
        rows.append(
            [
                (f"{held.site}/{held.terminal}", ""),
                (what, ""),
                (f"{held.entries:,}", ""),
                (f"{held.journal.head.sequence:,}", ""),
                (screen.local(reading.utc(held.last_ms)), ""),
                ("; ".join(troubles) or "whole", BAD if troubles else GOOD),
            ]
        )
    rows += [
        [(f"{site}/{terminal}", ""), ("none", WARN), ("0", ""), ("0", ""), ("never", WARN), ("silent", BAD)]
        for _number, site, terminal in report.never_sent
    ]
    if not rows:
        screen.line("the store is empty")
        return
    screen.table(["terminal", "journal", "entries", "upto", "last heard", "state"], rows, 5)
    entries, terminals = sum(held.entries for held in report.journals), len({row[0][0] for row in rows})
    screen.line(f"{entries:,} entries of {terminals:,} terminals")
    if silent:
        screen.line("silent: " + screen.plain(", ".join(f"{site}/{terminal}" for site, terminal in silent)))


def _troubles(report: Report, held: Held) -> list[str]:
    """What a person should look into, in words."""
    found = [
        f"gap {gap.from_seq}–{gap.upto_seq}" if gap.upto_seq >= gap.from_seq else f"beginning {gap.from_seq} unproven"
        for gap in report.gaps.get(held.place.number, [])
        if gap.filled_ms is None
    ]
    if forks := report.forks.get(held.place.number):
        found.append(f"fork from {forks[0]}, {len(forks)} entries")
    if waiting := report.waiting.get(held.place.number):
        found.append(f"{waiting} messages wait for {held.journal.head.sequence + 1}")
    found += [
        f"{one.messages} refused ({one.reason}: {one.detail})" for one in report.refused.get(held.place.terminal, [])
    ]
    return found
