"""A damaged journal is set aside and rebuilt, and the power goes in the middle of that: the next start goes on with it.

The points are found by running a rebuild once. After each cut the terminal starts, ends the rebuild, sells on; what
came back is what comes back undisturbed, and the damaged file is still there with its damage.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.runtime.durable_files import sync_folder
from tests.kit.agent_process import AgentProcess, call
from tests.kit.crash_rounds import limit_s, rounds, tell
from tests.kit.fault_filesystem import FaultFilesystem, fault_filesystem
from tests.kit.sellers import Sellers

POINTS, ENTRIES, PAGE = 3, 300, 4096
REBUILT_S = 60.0


class Damaged:
    """A terminal whose journal has three spoilt pages in its middle."""

    def __init__(self, folder: Path, disk: FaultFilesystem) -> None:
        self.disk = disk
        self.state = disk.path / "state"
        config = {"paths": {"state": str(self.state)}}
        self.agent = AgentProcess(folder, config, program=["-OO", "-m", "agent", "run"])
        self.agent.state = self.state
        self.agent.start()
        with Sellers(self.agent.run / "payment.sock") as sellers:
            sellers.sell(ENTRIES)
        assert self.agent.stop() == 0
        self.whole = self.entries()
        content = bytearray((self.state / "agent.db").read_bytes())
        self._spoilt = slice(first := len(content) // PAGE // 2 * PAGE, first + 3 * PAGE)
        content[self._spoilt] = random.Random(3).randbytes(3 * PAGE)
        self.content = bytes(content)

    def spoil(self) -> None:
        """The damaged file and nothing else, durably; what a power cut finds if nothing has been done yet."""
        for path in self.state.iterdir():
            path.unlink()
        with (self.state / "agent.db").open("wb") as file:
            file.write(self.content)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.state)

    def entries(self) -> dict[int, str]:
        """sequence → transaction_id."""
        with closing(sqlite3.connect(f"file:{self.state / 'agent.db'}?mode=ro", uri=True, timeout=10)) as db:
            return dict(db.execute("SELECT sequence, transaction_id FROM entries"))

    def await_rebuilt(self) -> None:
        """Until the damage was found and everything that could be read is back."""
        deadline = time.monotonic() + REBUILT_S
        while not self.is_kept() or self._is_under_way():
            assert time.monotonic() < deadline, f"not rebuilt:\n{self.agent.log()[-3000:]}"
            time.sleep(0.02)

    def _is_under_way(self) -> bool:
        try:
            with closing(sqlite3.connect(f"file:{self.state / 'agent.db'}?mode=ro", uri=True, timeout=10)) as db:
                return bool(db.execute("SELECT count(*) FROM meta WHERE name = 'rebuild'").fetchone()[0])
        except sqlite3.OperationalError:  # between the one file and the other
            return True

    def is_kept(self) -> bool:
        """The damaged file is still there, with what is wrong in it."""
        files = self.state.glob("agent.db.damaged-*")
        return any(path.read_bytes()[self._spoilt] == self.content[self._spoilt] for path in files)

    def came_back(self) -> dict[int, str]:
        """Of the entries that were there before."""
        return {sequence: one for sequence, one in self.entries().items() if self.whole.get(sequence) == one}


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Damaged]:
    with fault_filesystem(tmp_path / "volatile") as disk:
        one = Damaged(tmp_path, disk)
        yield one
        one.agent.close()


@pytest.mark.timeout(limit_s(POINTS, 30) + 2 * REBUILT_S)
def test_a_rebuild_goes_on_wherever_the_power_went(damaged: Damaged) -> None:
    disk, agent = damaged.disk, damaged.agent
    damaged.spoil()
    disk.halt_at(0)
    agent.start()
    damaged.await_rebuilt()
    changes = disk.halt_at(0)
    undisturbed = damaged.came_back()
    assert damaged.is_kept()
    assert agent.stop() == 0
    assert 0 < len(damaged.whole) - len(undisturbed) < 60, "three pages of this file hold entries"
    points = sorted(random.Random(9).choices(range(1, changes), k=rounds(POINTS)))
    sold = survived = 0
    for point in points:
        damaged.spoil()
        disk.halt_at(point)
        agent.start(wait=False)
        halted = disk.await_halt(20)
        assert agent.process is not None
        disk.cut_power(agent.process, seed=point)
        agent.close()
        agent.start()
        with Sellers(agent.run / "payment.sock", 10_000) as sellers:
            sellers.sell(20)
        damaged.await_rebuilt()
        assert damaged.came_back() == undisturbed, f"cut off at change {point} of {changes} ({halted})"
        assert damaged.is_kept(), f"cut off at change {point}: the damaged file is gone"
        fresh = damaged.entries()
        sold += sellers.count
        survived += sum(fresh.get(sequence) == one for one, sequence in sellers.acknowledged.items())
        assert {"TXN-JRN-002"} <= {
            fault["code"] for fault in call(agent.run / "control.sock", "health.get")["result"]["faults"]
        }
        assert agent.stop() == 0
    tell("power cut in a rebuild: sold meanwhile", len(points), sold, survived)
    assert survived == sold
