"""A child: read the entries out of set-aside files and give them to the daemon in pieces, the newest first.

``python -m agent.store.rebuild_entries FOLDER`` reads a `Rebuild`; each line it writes is a `Piece`, the last one a
`Conclusion`. It waits whenever the daemon does not read on, so the daemon alone sets the pace.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from agent.runtime.parent import end_with_parent, read_job
from agent.store.rebuild import HASH_COLUMN, Rebuild, Span
from agent.store.salvage import Salvage, missing_spans, row_to_put_back
from agent.store.sqlite_pages import PageFile


class Piece(Struct, frozen=True, tag="piece"):
    """Rows of one window with ``hash`` as hexadecimal digits; ``below``: the window, for who goes on later."""

    below: int
    rows: list[list[Any]]


class Conclusion(Struct, frozen=True, tag="end"):
    """``missing``: spans between anchor and base. ``left_out``: stored after base, so never acknowledged.

    ``begins_at``: first sequence with its hash, where nothing had told the beginning.
    """

    missing: tuple[Span, ...]
    unproven: tuple[int, ...]
    left_out: tuple[int, ...]
    begins_at: tuple[int, str] | None


def read_out(folder: Path, state: Rebuild, give: Callable[[Piece | Conclusion], None]) -> None:
    """Everything that the files hold; pieces that are back already are read again, but not given."""
    files = [PageFile(folder / name, folder / f"{name}-wal") for name in state.files]
    known = {sequence: bytes.fromhex(hash_) for sequence, hash_ in state.known_hashes}
    salvage = Salvage(files, known)
    present: list[Span] = []  # the newest first; one by one a million of them would be 36 MB
    unproven: list[int] = []
    left_out: list[int] = []
    first: tuple[int, str] | None = None
    for window in salvage.windows():
        rows, here = [], []
        for one in salvage.accepted(window):
            if one.sequence <= state.anchor and state.anchor_hash:
                continue  # before the beginning: retention took it out of the journal
            if one.sequence > state.base:
                left_out.append(one.sequence)
                continue
            row = row_to_put_back(one)
            if row is None:
                continue
            rows.append([*row[:HASH_COLUMN], one.hash.hex()])
            here.append(one.sequence)
            if not one.is_proven:
                unproven.append(one.sequence)
        _add(present, here)
        if here:
            first = (here[0], rows[0][HASH_COLUMN])
        if window < state.below and rows:
            give(Piece(window, rows))
    give(
        Conclusion(
            missing=tuple(missing_spans(_each(present), state.anchor, state.base)),
            unproven=tuple(sorted(unproven)),
            left_out=tuple(sorted(left_out)),
            begins_at=None if state.anchor_hash else first,
        )
    )


def _add(present: list[Span], sequences: list[int]) -> None:
    """Take in those of one window, ascending; all that are there are later."""
    for sequence in reversed(sequences):
        if present and present[-1][0] == sequence + 1:
            present[-1] = (sequence, present[-1][1])
        else:
            present.append((sequence, sequence))


def _each(present: list[Span]) -> Iterator[int]:
    for first, last in reversed(present):
        yield from range(first, last + 1)


def _main(argument: str) -> None:
    os.nice(19)
    state = msgspec.json.decode(read_job(), type=Rebuild)
    end_with_parent()
    read_out(Path(argument), state, lambda said: _write(msgspec.json.encode(said) + b"\n"))


def _write(line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    _main(sys.argv[1])
