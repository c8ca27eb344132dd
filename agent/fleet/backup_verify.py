"""``posctl fleet backup verify``: a whole restore of every journal in a folder, for the proof of it alone."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from agent.backup.lineage import Source, Unusable, find_lineage
from agent.backup.restore_key import read_identities
from agent.backup.restore_plan import Piece, Until
from agent.backup.restoring import Restored, Restoring, Wanted
from agent.errors import BadRequest, NeedsPerson
from agent.fleet.backup_choice import chosen
from agent.fleet.screen import BAD, GOOD, WARN, Screen
from agent.store.building import building

KEY_HINT = "give the private key of one of the recipients that [backup] of the terminal names"


class Verified(Struct, frozen=True, kw_only=True):
    """What a restore of one terminal's newest journal gave.

    Attributes:
        intact: Every entry from the first to the last is there and proved, and every file is usable.
        chain: Hash of the last entry; None where nothing could be restored, for ``problem``.
        missing: First and last of each hole; ``lost``: after the last entry, by names of unusable files.
    """

    site: str
    terminal: str
    journal_id: str | None
    intact: bool
    entries: int
    first_seq: int | None
    last_seq: int | None
    chain: str | None
    missing: list[tuple[int, int]]
    lost: tuple[int, int] | None
    used: int
    unusable: list[Unusable]
    problem: str | None


def verify(args: argparse.Namespace, screen: Screen) -> int:
    """Restore each; 0 when all of it is intact."""
    identities = read_identities(args.identity)
    results = []
    for site, terminal, pieces in chosen(args.folder, args.terminal, None):
        source = Source(args.folder, identities, KEY_HINT)
        results.append(_verified(source, (site, terminal), pieces, args, screen))
    if screen.as_json:
        screen.document({"items": results})
    else:
        for one in results:
            _print(one, screen)
    return 0 if all(one.intact for one in results) else 1


def _verified(
    source: Source, named: tuple[str, str], pieces: Sequence[Piece], args: argparse.Namespace, screen: Screen
) -> Verified:
    now = datetime.now(UTC)

    def tell(done: int, total: int) -> None:
        screen.work(f"restoring {'/'.join(named)}: {done:,} of {total:,} entries")

    try:
        lineage, unusable = find_lineage(source, pieces, args.journal)
        with (
            tempfile.TemporaryDirectory(prefix="pos-backup-", dir=args.work) as folder,
            building(Path(folder) / "agent.db", now) as db,
        ):
            result = Restoring(db, Wanted(source, pieces, lineage, Until()), tell).restore(now, "")
    except NeedsPerson as err:
        return _failed(named, err.message)
    except OSError as err:
        raise BadRequest(f"cannot work in {args.work}: {err.strerror}", field="--work") from err
    return _report(named, lineage.journal_id, result, unusable)


def _report(named: tuple[str, str], journal_id: str, result: Restored, unusable: Sequence[Unusable]) -> Verified:
    bad = {one.file: one for one in (*unusable, *result.unusable)}
    return Verified(
        site=named[0],
        terminal=named[1],
        journal_id=journal_id,
        intact=not (result.missing or result.lost_tail or bad),
        entries=result.entries,
        first_seq=result.first[0] if result.first else None,
        last_seq=result.last[0] if result.last else None,
        chain=result.end.hash.hex(),
        missing=[(one.first, one.last) for one in result.missing],
        lost=(result.lost_tail.first, result.lost_tail.last) if result.lost_tail else None,
        used=len(result.used),
        unusable=list(bad.values()),
        problem=None,
    )


def _failed(named: tuple[str, str], problem: str) -> Verified:
    return Verified(
        site=named[0],
        terminal=named[1],
        journal_id=None,
        intact=False,
        entries=0,
        first_seq=None,
        last_seq=None,
        chain=None,
        missing=[],
        lost=None,
        used=0,
        unusable=[],
        problem=problem,
    )


def _print(one: Verified, screen: Screen) -> None:
    state = screen.paint("intact", GOOD) if one.intact else screen.paint("NOT INTACT", BAD)
    screen.line(f"{one.site}/{one.terminal}  {state}  {one.entries:,} entries of journal {one.journal_id or '?'}")
    if one.problem is not None:
        screen.line(f"  {screen.plain(one.problem)}")
    if one.last_seq is not None:
        screen.line(f"  proved from {one.first_seq} to {one.last_seq}, chain {one.chain}")
    for first, last in one.missing:
        screen.line(f"  {screen.paint(f'missing {first} to {last}', BAD)}")
    if one.lost is not None:
        screen.line(f"  {screen.paint(f'lost {one.lost[0]} to {one.lost[1]}: their files cannot be read', BAD)}")
    for bad in one.unusable:
        screen.line(f"  {screen.paint('not usable', WARN)} {screen.plain(bad.file)}: {screen.plain(bad.problem)}")
