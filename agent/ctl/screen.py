"""Where lines go: standard output for results, standard error for what a person should know beside them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TextIO

import msgspec

from agent.ctl.progress import Progress
from agent.ctl.render.style import Cell, Style, plain, table, wrap
from agent.errors import AgentError, Refused

MIN_WIDTH, MAX_WIDTH = 60, 120
_DEFAULT_WIDTH = 80


class Screen:
    """Prints lines for people, or JSON. Whatever fetched the facts never formats them.

    Args:
        as_json: Standard output holds JSON only, one document (or one a line for what goes on).
        program: Whose errors they are.
    """

    def __init__(
        self, *, as_json: bool, out: TextIO | None = None, err: TextIO | None = None, program: str = "posctl"
    ) -> None:
        self.as_json = as_json
        self._program = program
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self.style = style_for(self._out)
        self._moving = Progress(self._err, plain_lines=False)
        self._working = Progress(self._err)

    def lines(self, lines: Iterable[str]) -> None:
        self._end_progress()
        for line in lines:
            self._out.write(line + "\n")
        self._out.flush()

    def line(self, text: str) -> None:
        self.lines([text])

    def document(self, value: object) -> None:
        """One JSON document over several lines."""
        self.line(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())

    def json_line(self, value: object) -> None:
        """One JSON document in one line, for what goes on (NDJSON)."""
        self.line(msgspec.json.encode(value).decode())

    def progress(self, text: str) -> None:
        """Where a terminal shows what is noted: one line that is written over; elsewhere nothing. "" removes it."""
        if text:
            self._moving.show(text)
        else:
            self._moving.clear()

    def work(self, text: str) -> None:
        """The same for work whose course is told by nothing else: elsewhere a line now and then."""
        self._working.show(text)

    def _end_progress(self) -> None:
        self._moving.clear()
        self._working.clear()

    def note(self, text: str) -> None:
        """For people only, beside the result: never part of what a script reads."""
        self._end_progress()
        self._err.write(text + "\n")
        self._err.flush()

    def error(self, error: AgentError) -> None:
        """What happened and what to do next; as JSON too where a script reads."""
        code = error.reason if isinstance(error, Refused) else str(error.facts.get("agent_code", error.code))
        field = f" ({plain(error.field)})" if error.field else ""
        said = [
            f"{self._program}: {plain(error.message)}{field} [{plain(code)}]",
            *([plain(error.hint)] if error.hint else []),
        ]
        for text, first in zip(said, ("", " " * 8), strict=False):
            self.note("\n".join(wrap(text, self.style, " " * 8, first)))
        if self.as_json:
            shown = {"code": code, "message": error.message, "field": error.field, "hint": error.hint}
            self.document({"error": shown})

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]], flex: int) -> None:
        """A table of (text, tone) cells; ``flex`` is the column that gives way."""
        self.lines(table(headings, [[Cell(plain(text), tone) for text, tone in row] for row in rows], self.style, flex))

    def paint(self, text: str, tone: str) -> str:
        return self.style.paint(text, tone)

    def plain(self, text: str) -> str:
        return plain(text)

    def local(self, at: datetime) -> str:
        return self.style.local(at)


def style_for(out: TextIO, environ: Callable[[str], str | None] = os.environ.get) -> Style:
    """Colour only on a terminal that has it and where nobody asked for none (https://no-color.org)."""
    terminal = out.isatty()
    colour = terminal and not environ("NO_COLOR") and environ("TERM") != "dumb"
    width = shutil.get_terminal_size((_DEFAULT_WIDTH, 24)).columns  # COLUMNS, else the terminal, else 80
    return Style(colour=colour, width=max(MIN_WIDTH, min(width, MAX_WIDTH)))
