"""``posctl txn export``: the journal, or a part of it, as a file for other programs. One page in memory at a time."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from agent.ctl import answers
from agent.ctl.client import CallFailed, ControlClient, decode
from agent.ctl.exit_codes import Exit
from agent.ctl.paging import raw_pages
from agent.ctl.progress import how_far
from agent.ctl.render.export import FORMATS, ExportedEntry, csv_heading, csv_lines, ndjson_lines
from agent.ctl.render.style import many
from agent.ctl.screen import Screen
from agent.ctl.txn_filters import filters_of
from agent.ctl.verb import client
from agent.ctl.whole_file import whole_file
from agent.errors import BadRequest

STANDARD_OUTPUT = "-"
_PAGE = 200  # entries: some 150 KiB, a sixth of what the agent lets wait for a reader
_SHOWN_RANGES = 10


class _Page(msgspec.Struct, frozen=True):
    items: list[ExportedEntry]


class Written(msgspec.Struct, frozen=True):
    """What went into the file. ``missing``: ranges of sequences that a whole journal would have between the first
    and the last; always empty where a filter chose the entries.
    """

    file: str
    format: str
    entries: int
    from_seq: int | None
    upto_seq: int | None
    missing: list[tuple[int, int]]


def run(args: argparse.Namespace, screen: Screen) -> Exit:
    """Write the file; nothing is left of one that could not be written whole."""
    to_output = args.out == STANDARD_OUTPUT
    form = args.format or ("ndjson" if to_output and screen.as_json else "csv")
    if to_output and screen.as_json and form != "ndjson":
        raise BadRequest("with --json standard output holds JSON alone", field="--out", hint="--out FILE")
    lines = csv_lines if form == "csv" else ndjson_lines
    zone = screen.style.zone
    with client(args) as agent, _opened(args.out) as file:
        if form == "csv":
            file.write(csv_heading())
        written = _write(agent, args, screen, file, form=form, lines=lambda entries: lines(entries, zone))
    if screen.as_json and not to_output:
        screen.document(written)
    elif not screen.as_json:
        (screen.note if to_output else screen.line)(_summary(written))
    for text in _missing(written):
        screen.note(text)
    return Exit.DONE


def _write(
    agent: ControlClient,
    args: argparse.Namespace,
    screen: Screen,
    file: BinaryIO,
    *,
    form: str,
    lines: Callable[[list[ExportedEntry]], bytes],
) -> Written:
    """Everything up to the entry that is the last one now: a shop that goes on selling does not keep it going."""
    begun_s = time.monotonic()
    last = agent.fetch("agent.info", answers.AgentInfo).journal.last_sequence or 0
    filters = filters_of(args)
    count, first, previous = 0, None, None
    missing: list[tuple[int, int]] = []
    for raw in raw_pages(agent, "transaction.list", {**filters, "newest_first": False}, _PAGE):
        listed = decode(raw, _Page, "transaction.list").items
        entries = [entry for entry in listed if entry.seq <= last]
        for entry in entries:
            if previous is not None and entry.seq <= previous:
                raise CallFailed("the agent's list is not in order", hint="try again; then posctl journal verify")
            if previous is not None and entry.seq > previous + 1 and not filters:
                missing.append((previous + 1, entry.seq - 1))
            first, previous = entry.seq if first is None else first, entry.seq
        file.write(lines(entries))
        count += len(entries)
        elapsed_s = time.monotonic() - begun_s
        screen.work(f"{how_far(previous or 0, last, elapsed_s, 'entries looked through')}: {count:,} written")
        if len(entries) < len(listed):
            break
    return Written(args.out, form, count, first, previous, missing)


@contextmanager
def _opened(out: str) -> Iterator[BinaryIO]:
    if out != STANDARD_OUTPUT:
        with whole_file(Path(out), "--out") as file:
            yield file
        return
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def _summary(written: Written) -> str:
    which = f", sequence {written.from_seq} to {written.upto_seq}" if written.entries else ""
    where = "" if written.file == STANDARD_OUTPUT else f" in {written.file}"
    return f"{many(written.entries, 'entry', 'entries')}{which}{where}"


def _missing(written: Written) -> list[str]:
    if not written.missing:
        return []
    shown = ", ".join(
        f"{first}-{last}" if last > first else f"{first}" for first, last in written.missing[:_SHOWN_RANGES]
    )
    more = f" and {len(written.missing) - _SHOWN_RANGES} more" if len(written.missing) > _SHOWN_RANGES else ""
    return [f"not in this journal: {shown}{more}; posctl journal verify says what to do"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=FORMATS, help="csv (default) for spreadsheets; ndjson keeps records exact")
    parser.add_argument(
        "--out", default=STANDARD_OUTPUT, metavar="FILE", help="a file, written whole or not at all; - (default): here"
    )
