"""``pos-agent restore``: the journal from backups, all of it or nothing; and ``--fill``, what the present one lacks."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from agent.backup.file_format import Header, Part
from agent.backup.filling import Open, fill
from agent.backup.lineage import Source, Unusable, find_lineage, journal_rows
from agent.backup.place import pieces_of, terminals_in
from agent.backup.restore_key import RestoreKey, read_key
from agent.backup.restore_plan import Piece, Until
from agent.backup.restoring import Restoring, Wanted
from agent.boot.agent_user import state_alone
from agent.boot.restore_report import FillReport, RestoreReport, fill_lines, report_of, restore_lines, spans
from agent.config import Settings
from agent.ctl.progress import how_far
from agent.ctl.screen import Screen
from agent.errors import BadRequest, NeedsPerson, NotFound, StoreDamaged
from agent.runtime.identifiers import uuid7
from agent.store import building, journals
from agent.store import restored_rows as rows
from agent.store.schema import initialise
from agent.store.sqlite import Connection, DatabaseError, cannot_open, connect_writer
from agent.workflow.run_rows import close_restored

DATABASE: Final = "agent.db"
_KEY_HINT: Final = (
    "they must be encrypted to this terminal's own key: pos-agent keys prints it, and where the operator's key is"
    " posctl fleet backup reencrypt makes such files"
)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EXIT_DONE, _EXIT_INCOMPLETE = 0, 1


class _Incomplete(Exception):
    """Entries are missing and nobody accepted that: takes down what was built, and carries the report out of it."""

    def __init__(self, report: RestoreReport) -> None:
        super().__init__()
        self.report = report


def restore(settings: Settings, options: argparse.Namespace, screen: Screen) -> int:
    """Restore or fill; 0 done, 1 entries are missing (and nothing was put in place, but for what was filled)."""
    place = _place(settings, options.source)
    until = read_until(options.until)
    site, terminal = _terminal(settings, options.terminal)
    state = Path(settings.paths.state)
    with state_alone(state):
        database = state / DATABASE
        if building.remove_unfinished(database):
            screen.note("what an interrupted restore had left was removed")
        if not options.fill:
            building.check_place(database)
        source = Source(place, [_key(state).secret], _KEY_HINT)
        pieces = pieces_of(place, site, terminal)
        if not pieces:
            raise _nothing_there(place, f"{site}/{terminal}")
        if options.fill:
            return _fill(database, source, pieces, screen)
        lineage, unusable = find_lineage(source, pieces, options.journal)
        whole = Wanted(source, pieces, lineage, until)
        return _Restore(settings, screen, whole, unusable).run(database, accept_missing=options.accept_missing)


class _Restore:
    """All of it or nothing."""

    def __init__(self, settings: Settings, screen: Screen, whole: Wanted, unusable: Sequence[Unusable]) -> None:
        """``unusable``: files that are known to be so already."""
        self._own = settings.terminal
        self._screen = screen
        self._whole = whole
        self._unusable = unusable

    def run(self, database: Path, *, accept_missing: bool) -> int:
        """Build, judge, put in place, tell; the exit code."""
        now = datetime.now(UTC)
        try:
            with building.building(database, now) as db:
                report, began = self._build(db, now, accept_missing=accept_missing)
            kept = building.put_in_place(database, now)
        except _Incomplete as stopped:
            self._show(stopped.report)
            self._screen.note(
                "entries are missing, so nothing was put in place; --accept-missing puts the rest in place"
            )
            return _EXIT_INCOMPLETE
        self._show(replace(report, restored=True, kept=str(kept) if kept is not None else None))
        if began > now:
            self._screen.note(
                f"this machine's clock is behind the backup, which was made {self._screen.local(began)}: set it right"
                " before the daemon starts"
            )
        self._screen.note("start the daemon now: systemctl start pos-agent")
        return _EXIT_DONE

    def _build(self, db: Connection, now: datetime, *, accept_missing: bool) -> tuple[RestoreReport, datetime]:
        result = Restoring(db, self._whole, _teller(self._screen)).restore(now, self._own.serial)
        report = report_of(result, self._whole, self._unusable)
        if (report.missing or report.lost) and not accept_missing:
            raise _Incomplete(report)
        began = max(now, result.newest_at)
        journal_id = uuid7()
        rows.begin_restored(db, journal_rows(result.journals), journal_id, result.end, began)
        return replace(report, journal_id=journal_id, orders_closed=close_restored(db, now)), began

    def _show(self, report: RestoreReport) -> None:
        if self._screen.as_json:
            self._screen.document(report)
        else:
            self._screen.lines(restore_lines(report, self._own.serial, self._screen))


def _fill(database: Path, source: Source, pieces: list[Piece], screen: Screen) -> int:
    if not database.exists():
        raise NotFound(f"there is no {database} to fill", hint="without --fill it is restored as a whole")
    try:
        db = connect_writer(database)
        try:
            initialise(db, datetime.now(UTC))
            db.execute("BEGIN IMMEDIATE")
            known = rows.missing(db)
            lineage = journals.journals(db)
            filled = fill(db, [gap for gap, _cause in known], lineage, pieces, _opener(source, screen))
            proof = _intact(rows.prove(db, rows.bases_of(lineage)))
            rows.write_missing(db, [(gap, _cause_of(gap, known)) for gap in proof.gaps])
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            db.close()  # rolls back what was not committed
    except DatabaseError as err:
        raise cannot_open(err) from err
    report = FillReport(
        filled=filled.entries,
        missing=spans(proof.gaps),
        used=list(filled.used),
        unusable=[Unusable(file, problem) for file, problem in filled.unusable.items()],
    )
    if screen.as_json:
        screen.document(report)
    else:
        screen.lines(fill_lines(report, screen))
    return _EXIT_INCOMPLETE if report.missing else _EXIT_DONE


def _intact(proof: rows.Proof) -> rows.Proof:
    if proof.broken_at is not None:
        raise StoreDamaged(
            f"the journal is not as it was stored from entry {proof.broken_at} on: nothing was filled",
            hint="start the daemon: it sets a damaged file aside and rebuilds it",
        )
    return proof


def read_until(text: str | None) -> Until:
    """The point up to which to restore: a sequence, or a time (a date alone: the end of that day here).

    Raises:
        BadRequest: Neither.
    """
    if text is None:
        return Until()
    try:
        if text.isascii() and text.isdigit():
            if 0 < int(text) < 2**62:
                return Until(sequence=int(text))
        else:
            at = datetime.fromisoformat(text)
            if _DATE.fullmatch(text):
                at += timedelta(days=1) - timedelta(milliseconds=1)
            return Until(at=at.astimezone(UTC))
    except (ValueError, OverflowError):
        pass
    raise BadRequest(
        "neither a sequence nor a time",
        field="--until",
        hint="as 412, 2026-11-21T10:00:00+08:00, 2026-11-21T10:00 by this machine's clock, or 2026-11-21",
    )


def _place(settings: Settings, source: str) -> Path:
    for folder in settings.backup.folder:
        if folder.name == source:
            return Path(folder.path)
    if source.startswith("https://") or source in {server.name for server in settings.backup.server}:
        raise BadRequest(
            "a restore reads from a folder",
            field="--from",
            hint="the files there are the operator's: reencrypt a copy of them to this terminal's key into a folder",
        )
    return Path(source).absolute()


def _terminal(settings: Settings, named: str | None) -> tuple[str, str]:
    own = settings.terminal
    if named is None:
        return own.site, own.terminal
    site, _, terminal = named.rpartition("/")
    parts = (site or own.site, terminal)
    if not all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", one) for one in parts):
        raise BadRequest("neither a terminal nor SITE/TERMINAL", field="--terminal")
    return parts


def _key(state: Path) -> RestoreKey:
    key = read_key(state)
    if key is None:
        raise NeedsPerson(
            "this terminal has no key yet: no file can be encrypted to it",
            hint="pos-agent keys makes and prints it; then posctl fleet backup reencrypt on the operator's side",
        )
    return key


def _nothing_there(place: Path, terminal: str) -> NotFound:
    others = terminals_in(place)
    hint = "it holds no backups at all: name the folder that holds the folder of the site"
    if others:
        named = ", ".join("/".join(one) for one in others[:8])
        hint = f"it holds backups of {named}: --terminal SITE/TERMINAL takes another terminal's on purpose"
    return NotFound(f"{place} holds no backup of {terminal}", field="--from", hint=hint)


def _cause_of(gap: rows.Gap, known: list[tuple[rows.Gap, str]]) -> str:
    return next((cause for one, cause in known if one.first <= gap.first <= one.last), "damage")


def _opener(source: Source, screen: Screen) -> Open:
    def opened(piece: Piece) -> AbstractContextManager[tuple[Header, Iterator[Part]]]:
        screen.work(f"reading {piece.file}")
        return source.opened(piece)

    return opened


def _teller(screen: Screen) -> Callable[[int, int], None]:
    began_s = time.monotonic()

    def tell(done: int, total: int) -> None:
        screen.work(f"restoring: {how_far(done, total, time.monotonic() - began_s, 'entries')}")

    return tell
