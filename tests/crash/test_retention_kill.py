"""SIGKILL while old entries leave: the anchor and what it stands for are never apart, and nothing young is missing."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from agent.store.chain import Entry, verify
from tests.kit.crash_rounds import rounds, tell
from tests.kit.retention_child import KEEP_MS

ROUNDS = 12
ROOT = Path(__file__).parents[2]


def _one_round(folder: Path, after_lines: int) -> list[str]:
    """Start the child, kill it after so many lines; all that it said."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.kit.retention_child", str(folder)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    ) as child:
        assert child.stdout is not None
        lines: list[str] = []
        deadline = time.monotonic() + 30
        while len(lines) <= after_lines:
            line = child.stdout.readline()
            assert line, "the child ended by itself"
            assert time.monotonic() < deadline
            lines.append(line.strip())
        child.kill()
        lines += [line.strip() for line in child.stdout]
    return lines


def test_a_kill_at_any_moment_leaves_a_whole_journal(tmp_path: Path) -> None:
    rng = random.Random()
    acknowledged = left_before = 0
    done = rounds(ROUNDS)
    for _ in range(done):
        lines = _one_round(tmp_path, rng.randrange(40, 160))
        assert lines[0] == "R"
        acknowledged = max([acknowledged, *(int(line) for line in lines if line.isdigit())])
        left = max([left_before, *(int(line.split()[1]) for line in lines if line.startswith("left"))])
        with closing(sqlite3.connect(tmp_path / "agent.db")) as db:
            (text,) = db.execute("SELECT value FROM meta WHERE name = 'journal_anchor'").fetchone()
            sequence, _, hash_ = text.partition(":")
            rows = db.execute("SELECT sequence, record, hash FROM entries ORDER BY sequence").fetchall()
            times = dict(db.execute("SELECT sequence, at FROM entries"))
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        entries = (Entry(one, record.encode(), stored) for one, record, stored in rows)
        found = verify(entries, int(sequence), bytes.fromhex(hash_))
        assert found.intact
        assert [row[0] for row in rows] == list(range(int(sequence) + 1, rows[-1][0] + 1))
        assert rows[-1][0] >= acknowledged
        assert int(sequence) >= left
        newest = rows[-1][0]
        assert times[int(sequence) + 1] >= times[newest] - KEEP_MS - 86_400_000  # no more left than is old
        assert newest - int(sequence) >= 30
        left_before = int(sequence)
    print(f"acknowledged {acknowledged}, survived {acknowledged - left_before} beside {left_before} that had left")
    tell("SIGKILL while old entries leave; what leaves counts as there", done, acknowledged, acknowledged)
    assert left_before > 0
