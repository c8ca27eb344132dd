"""``posctl fleet collect export``: what is held, as CSV, NDJSON or a SQLite file; or as backup files for a terminal.

A file appears whole or not at all: it is written beside its place, flushed, and renamed.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.util
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.errors import BadRequest
from agent.fleet.collector import reading
from agent.fleet.collector.database import Session, open_store
from agent.fleet.collector.export_rows import COLUMNS, NUMBERS, Wanted, csv_cell, document, flat
from agent.fleet.collector.reading import Held, StoredEntry
from agent.fleet.screen import Screen
from agent.runtime.durable_files import sync_folder

_PROGRESS_ROWS: Final = 5_000
_BATCH_ROWS: Final = 5_000
_FORMATS: Final = ("csv", "ndjson", "sqlite", "segments")
_EPILOG: Final = """\
for example: posctl fleet collect export --store shop-1.db --format csv --out sales.csv --from 2026-11-01 --batch 000012
             posctl fleet collect export --store shop-1.db --format segments --terminal T-0001 --site shop-1 \\
                 --recipient age1… --out /media/stick     (then, at the terminal: pos-agent restore --from /media/stick)
"""
Found = tuple[Held, StoredEntry, dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = "Write what a store holds to a file.", _EPILOG
    reading.store_option(parser)
    parser.add_argument("--format", required=True, choices=_FORMATS)
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="FILE",
        help="the file, replaced when it is there; segments: a folder",
    )
    parser.add_argument("--site", metavar="S", help="only this site")
    parser.add_argument("--terminal", action="append", metavar="T", help="only this terminal; repeat it for several")
    parser.add_argument(
        "--from", dest="since", type=point, metavar="TIME", help="recorded then or later (RFC 3339, UTC)"
    )
    parser.add_argument("--until", type=point, metavar="TIME", help="recorded before then")
    parser.add_argument("--batch", metavar="NO", help="only this batch, six digits")
    parser.add_argument("--recipient", action="append", metavar="AGE", help="segments: whose key opens them; repeat it")
    parser.set_defaults(run=_export)


def point(text: str) -> datetime:
    """``2026-11-21`` (midnight, UTC) or RFC 3339 with an offset."""
    try:
        at = datetime.fromisoformat(text)
        if len(text) == len("2026-11-21"):
            at = at.replace(tzinfo=UTC)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError("a time as 2026-11-21 or 2026-11-21T10:00:00+08:00")


def _export(args: argparse.Namespace, screen: Screen) -> int:
    wanted = Wanted(args.since, args.until, args.batch)
    if args.format == "segments":
        if any(wanted):
            raise BadRequest("a segment is a part of the chain: no --from, --until, --batch", field="--format")
        if not args.recipient:
            raise BadRequest("whose key is to open the files?", field="--recipient", hint="pos-agent keys shows it")
    elif args.recipient:
        raise BadRequest("only segments are encrypted", field="--recipient")
    database = open_store(args.store, create=False)
    try:
        with database.reading() as session:
            chosen = _chosen(session, args)
            if args.format == "segments":
                from agent.fleet.collector import export_segments  # noqa: PLC0415  # brings age's library with it

                written = export_segments.write(session, chosen, args.out, args.recipient, screen)
            else:
                rows = _Progress(screen, sum(held.entries for held in chosen)).watch(_found(session, chosen, wanted))
                written = _WRITERS[args.format](args.out, rows)
    except OSError as err:
        raise BadRequest(f"cannot write {args.out}: {err.strerror}", field="--out") from err
    finally:
        database.close()
    screen.progress("")
    if screen.as_json:
        screen.document({"out": str(args.out), "format": args.format, "entries": written})
    else:
        screen.line(f"{args.out}  {written:,} entries")
    return 0


def _chosen(session: Session, args: argparse.Namespace) -> list[Held]:
    """Journals of transactions that the options name.

    Raises:
        BadRequest: A terminal of which nothing is held.
    """
    held = [one for one in reading.journals(session, "txn") if args.site in {None, one.site}]
    if args.terminal is None:
        return held
    if unknown := sorted(set(args.terminal) - {one.terminal for one in held}):
        raise BadRequest(f"nothing is held of {', '.join(unknown)}", field="--terminal")
    return [one for one in held if one.terminal in args.terminal]


def _found(session: Session, chosen: list[Held], wanted: Wanted) -> Iterator[Found | None]:
    """Entries in order; None for one that is not wanted."""
    for held in chosen:
        for entry in reading.entries(session, held.place.number):
            record: dict[str, Any] = msgspec.json.decode(entry.record)
            yield (held, entry, record) if wanted.takes(entry.at, record) else None


class _Progress:
    def __init__(self, screen: Screen, total: int) -> None:
        self._screen, self._total = screen, total

    def watch(self, found: Iterator[Found | None]) -> Iterator[Found]:
        for number, one in enumerate(found, 1):
            if number % _PROGRESS_ROWS == 0:
                self._screen.progress(f"{number:,} of {self._total:,} entries")
            if one is not None:
                yield one


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes its place, durably, when the block ends without an error."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    done = False
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        done = True
    finally:
        if not done:
            temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write_csv(out: Path, rows: Iterator[Found]) -> int:
    written = 0
    with _replacing(out) as path, path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for written, found in enumerate(rows, 1):  # noqa: B007  # the last number is the count
            writer.writerow([csv_cell(value) for value in flat(*found).values()])
    return written


def _write_ndjson(out: Path, rows: Iterator[Found]) -> int:
    written = 0
    with _replacing(out) as path, path.open("wb") as file:
        for written, found in enumerate(rows, 1):  # noqa: B007
            file.write(msgspec.json.encode(document(*found)) + b"\n")
    return written


def _write_sqlite(out: Path, rows: Iterator[Found]) -> int:
    if importlib.util.find_spec("sqlite_utils") is None:
        raise BadRequest(
            "an export to SQLite needs sqlite-utils", field="--format", hint="pip install 'pos-agent[collector]'"
        )
    import sqlite_utils  # noqa: PLC0415  # heavy, and for this alone

    with _replacing(out) as path:
        database = sqlite_utils.Database(path)
        try:
            types = {name: int if name in NUMBERS else str for name in COLUMNS}
            key = ("site", "terminal", "journal_id", "sequence")
            table = database["entries"].create(types, pk=key)  # type: ignore[union-attr]  # a table, not a view
            table.insert_all((flat(*found) for found in rows), batch_size=_BATCH_ROWS)
            for columns in (["recorded_at"], ["batch_no"], ["transaction_id"]):
                table.create_index(columns)
            return int(table.count)
        finally:
            database.close()


_WRITERS: Final[dict[str, Callable[[Path, Iterator[Found]], int]]] = {
    "csv": _write_csv,
    "ndjson": _write_ndjson,
    "sqlite": _write_sqlite,
}
