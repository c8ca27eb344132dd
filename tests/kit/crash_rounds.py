"""How often a crash test crashes, and its figures: a few rounds in CI, thousands by ``make crash-slow``.

Each test that counts rounds calls `tell`; with ``POS_AGENT_CRASH_FIGURES`` set to a file it adds its line there, for
the table of ``make crash-slow`` (``tests/crash/figures.py``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

ROUNDS: Final = "POS_AGENT_CRASH_ROUNDS"
IN_CI: Final = 300  # of all kinds together
FIGURES: Final = "POS_AGENT_CRASH_FIGURES"


class Figure(msgspec.Struct, frozen=True):
    """What one test counted. ``kind``: what was killed, and how."""

    kind: str
    rounds: int
    acknowledged: int
    survived: int


def rounds(in_ci: int) -> int:
    """How many rounds a test does: ``in_ci``, or its share of ``POS_AGENT_CRASH_ROUNDS`` for all kinds together."""
    return max(1, round(in_ci * int(os.environ.get(ROUNDS, IN_CI)) / IN_CI))


def limit_s(in_ci: int, each_s: float) -> float:
    """The time limit for so many rounds, in seconds; ``each_s`` is far more than one takes."""
    return 60.0 + rounds(in_ci) * each_s


def tell(kind: str, done: int, acknowledged: int, survived: int) -> None:
    """Print the figures of one test, and keep them for the table."""
    print(f"\n{kind}: {done} rounds, {acknowledged} acknowledged, {survived} survived")
    if file := os.environ.get(FIGURES):
        with Path(file).open("ab") as figures:
            figures.write(msgspec.json.encode(Figure(kind, done, acknowledged, survived)) + b"\n")
