"""How often a crash test crashes, and its figures: a few rounds in CI, thousands by ``make crash-slow``.

Each test that counts calls `tell`; with ``POS_AGENT_CRASH_FIGURES`` set to a file it adds a line there for the table of
``make crash-slow``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path


def rounds(in_ci: int) -> int:
    """How many rounds to do: ``in_ci``, or that many times ``POS_AGENT_CRASH_FACTOR``."""
    return in_ci * int(os.environ.get("POS_AGENT_CRASH_FACTOR", "1"))


def limit_s(in_ci: float) -> float:
    """The time limit of a test with so many rounds, in seconds."""
    return in_ci * int(os.environ.get("POS_AGENT_CRASH_FACTOR", "1"))


def tell(kind: str, done: int, acknowledged: int, survived: int) -> None:
    """Print the figures of one test, and keep them for the table."""
    print(f"\n{kind}: {done} rounds, {acknowledged} acknowledged, {survived} survived")
    if file := os.environ.get("POS_AGENT_CRASH_FIGURES"):
        with Path(file).open("a") as figures:
            figures.write(json.dumps([kind, done, acknowledged, survived]) + "\n")
