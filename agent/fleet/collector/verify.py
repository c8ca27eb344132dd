"""``posctl fleet collect verify``: every chain recomputed from what is stored, first entry to last."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

from agent.fleet.collector import reading
from agent.fleet.collector.database import Session, open_store
from agent.fleet.collector.reading import Held, Recorded
from agent.fleet.screen import BAD, GOOD, Screen
from agent.store.chain import link, record_digest

_PROGRESS_ROWS = 20_000


class Verdict(NamedTuple):
    """``checked``: entries whose hash was recomputed. ``problems``: in words; none: whole and unchanged."""

    held: Held
    checked: int
    problems: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Recompute every chain in a store. Exit 1 when one does not hold or has a gap."
    reading.store_option(parser)
    parser.set_defaults(run=_verify)


def _verify(args: argparse.Namespace, screen: Screen) -> int:
    database = open_store(args.store, create=False)
    try:
        with database.reading() as session:
            gaps = reading.gaps(session)
            verdicts = []
            total = 0
            for held in reading.journals(session):
                verdicts.append(check(session, held, gaps.get(held.place.number, []), screen.progress))
                total += verdicts[-1].checked
    finally:
        database.close()
    screen.progress("")
    bad = [one for one in verdicts if one.problems]
    if screen.as_json:
        screen.document(
            {
                "intact": not bad,
                "journals": [
                    {
                        "site": one.held.site,
                        "terminal": one.held.terminal,
                        "kind": one.held.place.kind,
                        "journal_id": one.held.journal.journal_id,
                        "intact": not one.problems,
                        "checked": one.checked,
                        "upto_sequence": one.held.journal.head.sequence,
                        "problems": one.problems,
                    }
                    for one in verdicts
                ],
            }
        )
        return 1 if bad else 0
    for one in bad:
        name = f"{one.held.site}/{one.held.terminal} {one.held.journal.journal_id}"
        screen.line(f"{screen.plain(name)}: {screen.paint(screen.plain('; '.join(one.problems)), BAD)}")
    text = f"{len(verdicts) - len(bad):,} of {len(verdicts):,} journals whole; {total:,} entries recomputed"
    screen.line(screen.paint(text, BAD if bad else GOOD))
    return 1 if bad else 0


def check(session: Session, held: Held, gaps: list[Recorded], progress: Callable[[str], None]) -> Verdict:
    """Recompute one journal's chain over its own entries."""
    journal = held.journal
    open_gaps = {gap.upto_seq + 1: gap for gap in gaps if gap.filled_ms is None}
    problems = [
        f"gap {gap.from_seq} to {gap.upto_seq}" if gap.upto_seq >= gap.from_seq else f"beginning at {at} unproven"
        for at, gap in open_gaps.items()
    ]
    chain, checked, at, number = reading.before_first(session, held), 0, journal.base, 0
    if chain is None:
        problems.append(f"entry {journal.base} of its parent is not held")
    for entry in reading.entries(session, held.place.number):
        number += 1
        if number % _PROGRESS_ROWS == 0:
            progress(f"{held.site}/{held.terminal}: {number:,} of {held.entries:,} entries")
        gap = open_gaps.get(entry.sequence)
        if gap is not None and at == gap.from_seq - 1 and entry.hash == gap.after_hash:
            chain, at = entry.hash, entry.sequence  # what it follows is gone: its own hash is all there is
            continue
        if entry.sequence != at + 1:
            problems.append(f"{at + 1} to {entry.sequence - 1} are missing and on no record")
        elif chain is not None and link(chain, entry.sequence, record_digest(entry.record.encode())) != entry.hash:
            problems.append(f"entry {entry.sequence} is not what was stored")
            return Verdict(held, checked, problems)
        else:
            checked += 1
        chain, at = entry.hash, entry.sequence
    if journal.begun and (at, chain or journal.head.hash) != journal.head:
        problems.append(f"ends at {at}, but {journal.head.sequence} was signed for")
    if number != held.entries:
        problems.append(f"{number} entries, but {held.entries} were taken")
    return Verdict(held, checked, problems)
