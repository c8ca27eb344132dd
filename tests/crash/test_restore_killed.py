"""A restore killed at any moment leaves nothing or everything, and the next one works.

The points are found by running once: an audit hook counts what the process does to files and databases, and in the
rounds that follow kills it at one of these. Then at random times, with a journal large enough to be hit in its middle.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kit import backup_folder as kit
from tests.kit.agent_process import ROOT, AgentProcess, call
from tests.kit.backup_folder import BackupFolder

LARGE = 20_000
POINTS = {"open", "os.rename", "os.remove", "os.link", "os.chmod", "sqlite3.connect"}
PROGRAM = f"""
import os, signal, sys
from agent.__main__ import main
at, seen = int(sys.argv[1]), 0
def hook(event, arguments):
    global seen
    if event in {POINTS!r} and {"state"!r} in str(arguments[0]):
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
code = main(sys.argv[2:])
print(seen, file=sys.stderr)
sys.exit(code)
"""


class Unit:
    """A unit with a key, and a medium with the journal of the one before it."""

    def __init__(self, folder: Path, old: Path, entries: int) -> None:
        self.agent = AgentProcess(folder)
        self.database = self.agent.state / "agent.db"
        key = kit.new_key()
        kit.put_key(self.agent.state, key)
        self.medium = BackupFolder(folder / "medium", old, [key.public])
        self.medium.snapshot(entries // 2)
        self.medium.segments(entries // 2 + 1, entries, entries // 8)

    def restore(self, kill_at: int = 0) -> subprocess.Popen[str]:
        words = ["restore", "--json", "--config", str(self.agent.config_file), "--from", str(self.medium.place)]
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(kill_at), *words],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def is_whole(self, entries: int) -> bool:
        """All of it is in place; False: nothing is. Anything between fails."""
        if not self.database.exists():
            return False
        [(count, last)] = kit.query(self.database, "SELECT count(*), max(sequence) FROM entries")
        assert (count, last) == (entries, entries)
        assert kit.query(self.database, "PRAGMA integrity_check") == [("ok",)]
        [(cause,)] = kit.query(self.database, "SELECT cause FROM journals ORDER BY base_sequence DESC LIMIT 1")
        assert cause == "restored"
        return True

    def clear(self) -> None:
        for one in self.agent.state.iterdir():
            if one.name != "restore-key":
                one.unlink()


def test_killed_at_every_point_it_leaves_nothing_or_everything(tmp_path: Path) -> None:
    entries = 80
    unit = Unit(tmp_path, kit.fill_journal(tmp_path / "old", entries), entries)
    _out, err = unit.restore().communicate(timeout=60)
    points = int(err.split()[-1])
    assert unit.is_whole(entries)
    assert points >= 6
    outcomes = []
    for point in range(1, points + 1):
        unit.clear()
        process = unit.restore(point)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        outcomes.append(unit.is_whole(entries))
        if not outcomes[-1] and point % 6 == 0:
            _out, err = unit.restore().communicate(timeout=60)
            assert unit.is_whole(entries), err
            assert not (unit.agent.state / "agent.db.restoring").exists()
    print(f"{points} points: nothing in place after {outcomes.count(False)}, everything after {outcomes.count(True)}")
    assert outcomes == sorted(outcomes)  # first nothing, from one moment on everything


@pytest.mark.slow
def test_20000_entries_come_back_also_after_kills_at_random_times(tmp_path: Path) -> None:
    unit = Unit(tmp_path, kit.fill_journal(tmp_path / "old", LARGE), LARGE)
    began_s = time.monotonic()
    out, err = unit.restore().communicate(timeout=100)
    took_s = time.monotonic() - began_s
    assert json.loads(out)["entries"] == LARGE, err
    assert unit.is_whole(LARGE)
    choice = random.Random(4)
    killed = whole = 0
    for _round in range(3):
        unit.clear()
        process = unit.restore()
        try:
            process.communicate(timeout=choice.uniform(0.2, 1.1) * took_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
        whole += unit.is_whole(LARGE)
    unit.clear()
    unit.restore().communicate(timeout=100)
    assert unit.is_whole(LARGE)
    print(
        f"{LARGE} entries in {took_s:.1f} s; of 3 rounds {killed} killed, {whole} left everything, the others nothing"
    )
    with unit.agent as agent:
        verified = call(agent.run / "control.sock", "journal.verify")["result"]
    assert verified == {"intact": True, "upto_sequence": LARGE, "missing": []}
