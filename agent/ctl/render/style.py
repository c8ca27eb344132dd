"""Text for a terminal: tones, widths, tables, local times. Pure; the width and the time zone are arguments.

Text that came from elsewhere (a reason, a device's detail) goes through `plain` before it is shown, so that no
escape sequence of a stranger reaches the reader's terminal.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple

GOOD, WARN, BAD, DIM, BOLD = "32", "33", "31", "2", "1"
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
MIN_FLEX = 12
_PAINT = re.compile(r"\x1b\[[0-9;]*m")
_PAINT_KEPT = re.compile(rf"({_PAINT.pattern})")
_LONGEST_S = 1e9  # thirty years: whoever says more is wrong anyway


@dataclass(frozen=True, slots=True)
class Style:
    """How lines are made: ``width`` in columns; ``zone`` None means this machine's own."""

    colour: bool = False
    width: int = 80
    zone: tzinfo | None = None

    def paint(self, text: str, tone: str) -> str:
        return f"\x1b[{tone}m{text}\x1b[0m" if self.colour and tone and text else text

    def local(self, at: datetime) -> str:
        """Wall time of the reader: ``2026-11-21 10:00:00``."""
        try:
            return at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S")
        except OverflowError:  # the first or the last day of the calendar, in another time zone
            return at.strftime("%Y-%m-%d %H:%M:%S")


class Cell(NamedTuple):
    """One cell of a table. ``tone`` is applied after padding, so colours never shift a column."""

    text: str
    tone: str = ""
    right: bool = False


def plain(text: str) -> str:
    """``text`` on one line without anything that could steer a terminal."""
    return "".join(" " if c in "\n\t\r" else "\ufffd" if unicodedata.category(c) in _UNSAFE else c for c in text)


def columns(text: str) -> int:
    """How many columns a terminal gives ``text``: Chinese, Japanese and Korean characters take two."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def clip(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns, with an ellipsis where something is left out."""
    return text if columns(text) <= width else _fitting(text, width - 1) + "…"


def clip_painted(line: str, width: int) -> str:
    """`clip` for a line that is painted already: paint takes no columns, and is ended where the line is cut."""
    if columns(_PAINT.sub("", line)) <= width:
        return line
    kept, left = "", width - 1
    for part in _PAINT_KEPT.split(line):
        if _PAINT.fullmatch(part):
            kept += part
            continue
        fits = _fitting(part, left)
        kept, left = kept + fits, left - columns(fits)
        if fits != part:
            break
    return kept + "…" + ("\x1b[0m" if "\x1b" in kept else "")


def _fitting(text: str, width: int) -> str:
    """The beginning of ``text`` that takes at most ``width`` columns."""
    used = 0
    for index, c in enumerate(text):
        used += columns(c)
        if used > width:
            return text[:index]
    return text


def wrap(text: str, style: Style, indent: str, first: str | None = None) -> list[str]:
    """``text`` as lines of at most ``style.width`` columns; ``first`` replaces the indent of the first line."""
    room = style.width // 2 if columns(text) > len(text) else style.width  # wide characters: half as many fit
    return textwrap.wrap(
        text,
        max(room, 40),
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=columns(text) > len(text),  # an id or a path stays whole; Chinese text has no spaces
    )


def table(
    headings: Sequence[str], rows: Sequence[Sequence[Cell]], style: Style, flex: int, indent: str = ""
) -> list[str]:
    """Lines of a table: column ``flex`` gives way so that a line fits ``style.width``.

    Args:
        headings: One for each column; right-aligned where the column's cells are.
        rows: Cells already `plain`.
    """
    widths = [
        max([columns(heading), *(columns(row[index].text) for row in rows)]) for index, heading in enumerate(headings)
    ]
    over = len(indent) + sum(widths) + 2 * (len(widths) - 1) - style.width
    if over > 0:
        widths[flex] = max(widths[flex] - over, min(widths[flex], MIN_FLEX))
    right = [bool(rows) and rows[0][index].right for index in range(len(headings))]
    head = [Cell(heading.upper(), DIM, right[index]) for index, heading in enumerate(headings)]
    return [indent + _row(row, widths, style) for row in [head, *rows]]


def _row(row: Sequence[Cell], widths: Sequence[int], style: Style) -> str:
    parts = []
    for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
        text = clip(cell.text, width)
        padding = " " * (width - columns(text))
        last = index == len(widths) - 1 and not cell.right
        painted = style.paint(text, cell.tone)
        parts.append(padding + painted if cell.right else painted if last else painted + padding)
    return "  ".join(parts).rstrip()


def duration(seconds: float) -> str:
    """``42 s``, ``5 min 3 s``, ``2 h 10 min``, ``3 d 4 h``."""
    left = timedelta(seconds=int(min(max(0.0, seconds), _LONGEST_S)))
    hours, rest = divmod(left.seconds, 3600)
    minutes, secs = divmod(rest, 60)
    if left.days:
        return f"{left.days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {secs} s" if minutes else f"{secs} s"


def many(count: int, noun: str, plural: str = "") -> str:
    """``1 entry``, ``2 entries``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
