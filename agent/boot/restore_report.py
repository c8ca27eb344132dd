"""What a restore or a filling has done, for scripts and for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from agent.backup.lineage import Unusable
from agent.backup.restoring import Restored, Wanted
from agent.ctl.render.style import BAD, GOOD, WARN
from agent.ctl.screen import Screen
from agent.runtime.clock import rfc3339
from agent.store.restored_rows import Gap


class Place(Struct, frozen=True):
    """An entry. ``at``: when the agent stored it."""

    sequence: int
    at: str


class Span(Struct, frozen=True):
    """Sequences, both included."""

    from_seq: int
    upto_seq: int


class RestoreReport(Struct, frozen=True, kw_only=True):
    """``pos-agent restore --json``.

    Attributes:
        restored: It is in place.
        chain: Hash of the last entry, 64 hexadecimal digits: proved from the first entry to this one.
        missing: Sequences without an entry in between. ``lost``: after the last entry, by names of unreadable files.
        journal_id: Of the new journal; None where nothing is in place. ``parent``: the one it continues.
        made_on: Serial of the unit that the backup is of.
        orders_closed: Orders that were open and are failed now.
        snapshot: The file that orders, faults and locks come from; None: they could not be restored.
        kept: Where a database without entries was moved that had been in the way.
    """

    restored: bool
    entries: int
    first: Place | None
    last: Place | None
    chain: str
    missing: list[Span]
    lost: Span | None
    journal_id: str | None
    parent: str
    other_journals: list[str]
    site: str
    terminal: str
    made_on: str
    orders_closed: int
    snapshot: str | None
    used: list[str]
    unusable: list[Unusable]
    kept: str | None


class FillReport(Struct, frozen=True, kw_only=True):
    """``pos-agent restore --fill --json``."""

    filled: int
    missing: list[Span]
    used: list[str]
    unusable: list[Unusable]


def place(found: tuple[int, int] | None) -> Place | None:
    """From sequence and milliseconds since 1970 UTC."""
    return None if found is None else Place(found[0], rfc3339(datetime.fromtimestamp(found[1] / 1000, UTC)))


def spans(gaps: Sequence[Gap]) -> list[Span]:
    return [Span(*gap) for gap in gaps]


def report_of(result: Restored, wanted: Wanted, unusable: Sequence[Unusable]) -> RestoreReport:
    """What was proved; nothing is in place yet. ``unusable``: beside those that the restore itself came upon."""
    named = {one.file: one for one in (*unusable, *result.unusable)}
    return RestoreReport(
        restored=False,
        entries=result.entries,
        first=place(result.first),
        last=place(result.last),
        chain=result.end.hash.hex(),
        missing=spans(result.missing),
        lost=Span(*result.lost_tail) if result.lost_tail else None,
        journal_id=None,
        parent=result.journals[-1].journal_id,
        other_journals=list(wanted.lineage.others),
        site=result.site,
        terminal=result.terminal,
        made_on=result.serial,
        orders_closed=0,
        snapshot=result.snapshot,
        used=list(result.used),
        unusable=list(named.values()),
        kept=None,
    )


def restore_lines(report: RestoreReport, serial: str, screen: Screen) -> Iterator[str]:
    """For people, the most important first."""
    done = "restored" if report.restored else "found and proved, NOT restored:"
    tone = GOOD if report.restored else BAD
    yield f"{screen.paint(done, tone)} {_count(report.entries, 'entry', 'entries')}{_extent(report, screen)}"
    if report.last is not None:
        yield f"chain    {report.chain}"
        yield f"         proved from the first entry to number {report.last.sequence}"
    yield f"missing  {_spans(report.missing, screen)}"
    if report.lost is not None:
        text = f"{_span(report.lost)}: files are named for them, and none of those can be read"
        yield f"lost     {screen.paint(text, BAD)}"
    if report.restored:
        yield f"journal  {report.journal_id}, which continues {report.parent}"
    else:
        yield f"journal  {report.parent}"
    if report.made_on != serial:
        yield f"unit     the backup is of the unit {screen.plain(report.made_on)}, this one is {serial}"
    if report.snapshot is None:
        yield screen.paint("orders   none of the usable files holds orders, faults and locks", WARN)
    elif report.orders_closed:
        yield f"orders   {_count(report.orders_closed, 'was', 'were')} open and failed now: RESTORED"
    yield f"files    {len(report.used)} used"
    yield from _unusable(report.unusable, screen)
    for one in report.other_journals:
        yield f"beside   journal {one} is there, too; --journal takes it instead"
    if report.kept is not None:
        yield f"kept     the database without entries that was in the way: {report.kept}"


def fill_lines(report: FillReport, screen: Screen) -> Iterator[str]:
    yield f"filled   {_count(report.filled, 'entry', 'entries')}, each proved by the entry after it"
    yield f"missing  {_spans(report.missing, screen)}"
    yield from _unusable(report.unusable, screen)


def _extent(report: RestoreReport, screen: Screen) -> str:
    if report.first is None or report.last is None:
        return ""
    first, last = (screen.local(datetime.fromisoformat(one.at)) for one in (report.first, report.last))
    return f", {report.first.sequence} to {report.last.sequence}, stored {first} to {last}"


def _unusable(files: Sequence[Unusable], screen: Screen) -> Iterator[str]:
    for one in files:
        yield f"{screen.paint('not used', WARN)} {screen.plain(one.file)}: {screen.plain(one.problem)}"


def _spans(gaps: Sequence[Span], screen: Screen) -> str:
    return screen.paint(", ".join(_span(one) for one in gaps), BAD) if gaps else "none"


def _span(one: Span) -> str:
    return str(one.from_seq) if one.from_seq == one.upto_seq else f"{one.from_seq} to {one.upto_seq}"


def _count(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"
