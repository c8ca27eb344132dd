"""The journal and its copies while something is killed: the sealing child, the daemon, the power of both media.

Two things are held against witnesses of our own after every round: every acknowledged record is in the journal, and
every entry that the agent called backed up is in a file on the medium that opens, proves and names it. At the end a
replacement terminal is given its journal from that medium alone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.demo import evidence
from agent.runtime.durable_files import sync_folder
from tests.kit.agent_process import AgentProcess, call
from tests.kit.backup_witness import BackupWitness, backed_up_upto, kill_child, sealing_children
from tests.kit.crash_rounds import limit_s, rounds, tell
from tests.kit.fault_filesystem import FaultFilesystem, fault_filesystem
from tests.kit.sellers import Sellers, check_survival

CHILD_ROUNDS, DAEMON_ROUNDS, POWER_ROUNDS = 6, 6, 10


class Shop:
    """An agent with a medium for its backups, both on a disk whose power can go."""

    def __init__(self, folder: Path, disk: FaultFilesystem) -> None:
        self.folder = folder
        self.disk = disk
        (disk.path / "medium").mkdir()
        sync_folder(disk.path)
        self.witness = BackupWitness(disk.path / "medium")
        config = {"paths": {"state": str(disk.path / "state")}, "backup": self.witness.config()}
        self.agent = AgentProcess(folder, config, program=["-OO", "-m", "agent", "run"])
        self.agent.state = disk.path / "state"
        self.acknowledged: dict[str, int] = {}
        self.backed_up = 0
        self.sealing_s = 0.0
        self._number = 1

    def sell(self, count: int, then: Callable[[], object] = lambda: None) -> None:
        """Sell on, and do ``then`` before the sellers are stopped."""
        with Sellers(self.agent.run / "payment.sock", self._number, clients=2, pipelined=4) as sellers:
            sellers.sell(count)
            then()
        self._number = sellers.number
        self.acknowledged.update(sellers.acknowledged)

    def note_backed_up(self) -> None:
        """What the agent says now it may not take back."""
        upto = backed_up_upto(self.agent)
        assert upto >= self.backed_up, "an entry was backed up and is not any more"
        self.backed_up = upto

    def await_child(self) -> int:
        """Process id of a sealing child that has just begun."""
        deadline = time.monotonic() + 30
        while not (pids := sealing_children(self.agent)):
            assert time.monotonic() < deadline, f"nothing is sealed:\n{self.agent.log()[-2000:]}"
            time.sleep(0.002)
        return pids[0]

    def seal(self) -> int:
        """Order a backup; the process id of the child that makes it, or another one first."""
        answer = call(self.agent.run / "control.sock", "backup.run", {"kind": "segment"})
        assert "error" not in answer, answer
        return self.await_child()

    def seal_once(self) -> None:
        """Let one backup be made undisturbed, to know how long that takes here and now."""
        self.sell(25)
        began = time.monotonic()
        self.seal()
        while not backed_up_upto(self.agent):
            assert time.monotonic() < began + 60, f"nothing is backed up:\n{self.agent.log()[-2000:]}"
            time.sleep(0.01)
        self.sealing_s = time.monotonic() - began

    def check(self) -> None:
        """What is called backed up is on the medium, and is what the journal has."""
        held = self.witness.entries()
        assert set(range(1, self.backed_up + 1)) <= held.keys(), f"{self.backed_up} are called backed up"
        stored = {entry.sequence: entry.transaction_id for entry in evidence.entries(self.agent.state / "agent.db")}
        assert all(stored.get(sequence) == one for sequence, one in held.items()), "a backup of what is not stored"

    def end(self, kind: str, done: int) -> None:
        """Back up the rest, and give the journal to a replacement terminal."""
        call(self.agent.run / "control.sock", "backup.run", {"kind": "segment"})
        deadline = time.monotonic() + 60
        while backed_up_upto(self.agent) < max(self.acknowledged.values()):
            assert time.monotonic() < deadline, f"not backed up:\n{self.agent.log()[-2000:]}"
            time.sleep(0.05)
        assert self.agent.stop() == 0
        self.check()
        check_survival(self.agent.state / "agent.db", self.acknowledged, kind)
        unit = self.witness.restore(self.folder / "replacement")
        stored = {entry.transaction_id: entry.sequence for entry in evidence.entries(unit.state / "agent.db")}
        survived = sum(stored.get(one) == sequence for one, sequence in self.acknowledged.items())
        tell(f"{kind}, then restored from {self.witness.files} files", done, len(self.acknowledged), survived)
        assert survived == len(self.acknowledged)
        with unit:
            assert call(unit.run / "control.sock", "journal.verify")["result"]["intact"]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with fault_filesystem(tmp_path / "volatile") as disk:
        one = Shop(tmp_path, disk)
        yield one
        one.agent.close()


@pytest.mark.timeout(limit_s(CHILD_ROUNDS, 20))
def test_a_sealing_child_that_is_killed_costs_a_repeat(shop: Shop) -> None:
    chance = random.Random(11)
    shop.agent.start()
    shop.seal_once()
    done = rounds(CHILD_ROUNDS)
    for _ in range(done):
        shop.sell(25)
        pid = shop.seal()
        time.sleep(chance.uniform(0.0, shop.sealing_s))
        kill_child(pid)
        shop.note_backed_up()
        shop.check()
    shop.end("SIGKILL of the sealing child", done)


@pytest.mark.timeout(limit_s(DAEMON_ROUNDS, 20))
def test_a_daemon_that_is_killed_while_it_seals_counts_only_what_is_there(shop: Shop) -> None:
    chance = random.Random(12)
    shop.agent.start()
    shop.seal_once()
    done = rounds(DAEMON_ROUNDS)
    for round_ in range(done):
        if round_:
            shop.agent.start()
        shop.sell(25)
        shop.seal()
        time.sleep(chance.uniform(0.0, 1.3 * shop.sealing_s))
        shop.note_backed_up()
        shop.agent.kill()
        shop.check()
    shop.agent.start()
    shop.end("SIGKILL of the daemon while it seals", done)


@pytest.mark.timeout(limit_s(POWER_ROUNDS, 20))
def test_what_is_called_backed_up_outlives_the_power_of_both_media(shop: Shop) -> None:
    """In the middle of a change of either: of the journal, of a backup file, of a folder."""
    chance = random.Random(13)
    done = rounds(POWER_ROUNDS)
    for _ in range(done):
        shop.agent.start()
        shop.sell(25, then=shop.note_backed_up)
        shop.seal()
        shop.disk.halt_at(chance.randrange(1, 40))
        if not shop.disk.await_halt(1.5):
            shop.note_backed_up()
        assert shop.agent.process is not None
        shop.disk.cut_power(shop.agent.process, seed=chance.randrange(1 << 30) if chance.random() < 0.8 else None)
        shop.agent.close()
        shop.check()
    shop.agent.start()
    shop.end("power cut of journal and backup medium", done)
