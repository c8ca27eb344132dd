"""``make crash-slow``: the crash tests with thousands of rounds, and their figures as a table.

``python -m tests.crash.figures [--rounds N] [--seconds S] [--write FILE]``. Fails as soon as one record is missing.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.kit.agent_process import ROOT
from tests.kit.crash_rounds import FIGURES, ROUNDS, Figure

KINDS = (
    "tests/crash/test_kill_under_load.py",
    "tests/crash/test_store_kill.py",
    "tests/crash/test_power_cut.py",
    "tests/crash/test_copies_killed.py",
    "tests/crash/test_restore_cut_off.py",
    "tests/crash/test_rebuild_cut_off.py",
    "tests/crash/test_collector.py",
    "tests/crash/test_delivery_killed.py",
    "tests/crash/test_retention_kill.py",
)


def _table(figures: Sequence[Figure]) -> list[str]:
    lines = ["| what ends, and how | rounds | acknowledged | survived |", "|---|---:|---:|---:|"]
    lines += [f"| {one.kind} | {one.rounds:,} | {one.acknowledged:,} | {one.survived:,} |" for one in figures]
    rounds, acknowledged, survived = (
        sum(getattr(one, name) for one in figures) for name in ("rounds", "acknowledged", "survived")
    )
    return [*lines, f"| **all** | **{rounds:,}** | **{acknowledged:,}** | **{survived:,}** |"]


_HEAD = """\
# Crash figures

How many records were acknowledged, and how many of them were there afterwards, in the order and with the chain that
they were acknowledged with. One that is missing fails the run. What each kind does is written where it is tested, in
`tests/crash/`. CI does some dozens of rounds of each; `make crash-slow` does as many as it is asked for.
"""


def _page(figures: Sequence[Figure], command: str, took_s: float) -> str:
    release = platform.release().partition("-")[0]
    machine = f"{os.cpu_count()} processors, {platform.machine()}, {platform.system()} {release}"
    when = datetime.now(UTC).date().isoformat()
    made = f"{when}, {machine}, Python {platform.python_version()}, {took_s / 60:.0f} min: `{command}`"
    return "\n".join([_HEAD, made, "", *_table(figures), ""])


def main() -> int:
    parser = argparse.ArgumentParser(prog="make crash-slow", description="Crash tests with many rounds.")
    parser.add_argument("--rounds", type=int, default=int(os.environ.get(ROUNDS, "3000")), help="of all kinds together")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the figures into this page, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pos-crash-") as folder:
        file = Path(folder) / "figures"
        began = time.monotonic()
        code = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", *KINDS],
            cwd=ROOT,
            env={**os.environ, ROUNDS: str(options.rounds), FIGURES: str(file)},
            check=False,
        ).returncode
        lines = file.read_bytes().splitlines() if file.exists() else []
    figures = [msgspec.json.decode(line, type=Figure) for line in lines]
    command = f'make crash-slow ARGS="--rounds {options.rounds}"'
    print("\n".join(_table(figures)))
    if options.write is not None and code == 0:
        options.write.write_text(_page(figures, command, time.monotonic() - began))
    return code


if __name__ == "__main__":
    sys.exit(main())
