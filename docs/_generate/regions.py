"""Marked regions of a Markdown page: everything between two marks is replaced by what the code says. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

_REGION = re.compile(r"(<!-- made from the code: ([a-z_]+) -->\n).*?(<!-- end -->)", re.DOTALL)


class UnknownRegion(ValueError):
    """A page asks for a table that nobody makes."""


def filled(page: str, makers: Mapping[str, Callable[[], str]]) -> str:
    """The page with each region made anew.

    Raises:
        UnknownRegion: A mark names no maker.
    """

    def made(found: re.Match[str]) -> str:
        if found[2] not in makers:
            raise UnknownRegion(f"no table is named {found[2]}; there are: {', '.join(sorted(makers))}")
        return f"{found[1]}{makers[found[2]]().strip()}\n{found[3]}"

    return _REGION.sub(made, page)


def names(page: str) -> list[str]:
    """Which regions a page has, in order."""
    return [found[2] for found in _REGION.finditer(page)]


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
