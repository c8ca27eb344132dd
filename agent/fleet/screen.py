"""What the fleet's verbs need of whoever runs them: `posctl` hands it over, so this room knows no other program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

ReadArguments = Callable[[Sequence[str]], dict[str, object]]
"""``["level=internal"]`` → ``{"level": "internal"}``; raises BadRequest."""

GOOD, WARN, BAD, DIM = "32", "33", "31", "2"


class Screen(Protocol):
    """Standard output for results (JSON alone when ``as_json``), standard error for notes to a person."""

    as_json: bool

    def line(self, text: str) -> None: ...
    def document(self, value: object) -> None: ...
    def json_line(self, value: object) -> None: ...
    def note(self, text: str) -> None: ...

    def progress(self, text: str) -> None:
        """One line that is written over, on a terminal only; "" removes it."""
        ...

    def work(self, text: str) -> None:
        """The same for long work; elsewhere than on a terminal a line now and then."""
        ...

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]], flex: int) -> None: ...
    def paint(self, text: str, tone: str) -> str: ...

    def plain(self, text: str) -> str:
        """``text`` without anything that could steer a terminal: whatever came over the wire goes through here."""
        ...

    def local(self, at: datetime) -> str: ...
