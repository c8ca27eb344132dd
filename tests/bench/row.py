"""One line of `make bench`: what was measured, its peer in the same run, the ratio, the limit, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A figure of design.md, section 6.

    Args:
        unit: Of ``measured`` and ``peer``.
        peer: The figure that it is held against; None where the limit is absolute.
        limit: For the ratio where there is a peer and ``absolute`` is false, else for ``measured``.
        at_least: The limit is a floor, not a ceiling.
        steady: A busy machine does not move it: ``--gate`` fails when it is missed.
    """

    what: str
    measured: float
    unit: str
    limit: float
    peer: float | None = None
    peer_name: str = ""
    absolute: bool = False
    at_least: bool = False
    steady: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.measured / self.peer if self.peer else None

    @property
    def is_met(self) -> bool:
        value = self.measured if self.absolute or self.ratio is None else self.ratio
        return value >= self.limit if self.at_least else value <= self.limit

    def line(self) -> str:
        peer = f"{self.peer:10.2f} {self.peer_name}" if self.peer is not None else f"{'':10} —"
        ratio = f"{self.ratio:7.2f}×" if self.ratio is not None else f"{'':8}"
        sign = "≥" if self.at_least else "≤"
        limit = (
            f"{sign} {self.limit:g} {self.unit}" if self.absolute or self.ratio is None else f"{sign} {self.limit:g}×"
        )
        verdict = "met" if self.is_met else "NOT met"
        note = f"   {self.note}" if self.note else ""
        return f"{self.what:34} {self.measured:10.2f} {self.unit:8} {peer:34} {ratio} {limit:16} {verdict}{note}"


def print_rows(rows: Sequence[Row]) -> None:
    head = f"{'what':34} {'measured':>10} {'unit':8} {'peer in the same run':>34} {'ratio':>8} {'limit':16} verdict"
    print(head)
    for row in rows:
        print(row.line(), flush=True)
