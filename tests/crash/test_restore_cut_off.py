"""The power goes in the middle of a restore: afterwards there is no database, or the whole one, and a repeat works.

The points are found by running a restore once: it makes so many changes on the disk, and the power goes in some of
them. What is there afterwards is looked at by reading it and by restoring again, as a technician would.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.demo import evidence
from agent.runtime.durable_files import make_folder, sync_folder, write_again
from tests.kit.agent_process import ROOT, AgentProcess, call
from tests.kit.backup_folder import BackupFolder, fill_journal, new_key, put_key
from tests.kit.crash_rounds import limit_s, rounds, tell
from tests.kit.fault_filesystem import FaultFilesystem, fault_filesystem

POINTS, ENTRIES = 8, 60
MAY_VARY = 3  # changes from one restore to the next: pages that happen to be written twice


class Replacement:
    """A terminal whose state is on a disk that may lose its power, and a folder with backups elsewhere."""

    def __init__(self, folder: Path, disk: FaultFilesystem) -> None:
        self.disk = disk
        self.state = disk.path / "state"
        make_folder(self.state)
        self.unit = AgentProcess(folder / "unit", {"paths": {"state": str(self.state)}})
        self.unit.state = self.state
        key = new_key()
        put_key(self.state, key)
        write_again(self.state / "restore-key")
        sync_folder(self.state)
        database = fill_journal(folder / "original", ENTRIES)
        backups = BackupFolder(folder / "backups", database, [key.public])
        backups.place.mkdir(exist_ok=True)
        backups.snapshot(ENTRIES // 2)
        backups.segments(ENTRIES // 2 + 1, ENTRIES, 10)
        self._from = backups.place
        self.expected = [(one.sequence, one.hash) for one in evidence.entries(database)]

    def begin(self) -> subprocess.Popen[bytes]:
        command = ["agent", "restore", "--config", str(self.unit.config_file), "--from", str(self._from)]
        return subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def restore(self) -> None:
        """From the beginning to the end."""
        process = self.begin()
        _out, told = process.communicate(timeout=60)
        assert process.returncode == 0, told.decode()

    @property
    def is_there(self) -> bool:
        return (self.state / "agent.db").exists()

    def check(self) -> None:
        found = [(one.sequence, one.hash) for one in evidence.entries(self.state / "agent.db")]
        assert found == self.expected

    def clear(self) -> None:
        """Throw the restored database away, durably."""
        for path in self.state.glob("agent.db*"):
            path.unlink()
        sync_folder(self.state)


@pytest.fixture
def replacement(tmp_path: Path) -> Iterator[Replacement]:
    with fault_filesystem(tmp_path / "volatile") as disk:
        one = Replacement(tmp_path, disk)
        yield one
        one.unit.close()


@pytest.mark.timeout(limit_s(POINTS, 20))
def test_a_restore_gives_everything_or_nothing_wherever_the_power_goes(replacement: Replacement) -> None:
    disk = replacement.disk
    disk.halt_at(0)
    replacement.restore()
    changes = disk.halt_at(0)
    replacement.check()
    last = changes - MAY_VARY
    points = [*sorted(random.Random(5).choices(range(1, last), k=rounds(POINTS) - 1)), last]
    for point in points:
        replacement.clear()
        disk.halt_at(point)
        with replacement.begin() as process:
            assert disk.await_halt(30), f"change {point} of {changes} never came"
            disk.cut_power(process, seed=point)
        if replacement.is_there:
            replacement.check()
        else:
            replacement.restore()
            replacement.check()
        left = {path.name for path in replacement.state.iterdir()} - {"lock", "restore-key"}
        assert left <= {"agent.db", "agent.db-wal", "agent.db-shm"}, f"cut off at {point}: {left}"
    tell("power cut in a restore", len(points), ENTRIES * len(points), ENTRIES * len(points))
    with replacement.unit:
        assert call(replacement.unit.run / "control.sock", "journal.verify")["result"]["intact"]
