"""The power goes: not only the process is gone, what was not synced is, too. Finds the fsync that SIGKILL never misses.

The disk is ``tests/kit/volatile_disk.py``: by the letter of POSIX, with a random part of what was not synced surviving.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.runtime.durable_files import sync_folder
from tests.kit.agent_process import AgentProcess, call
from tests.kit.crash_rounds import limit_s, rounds, tell
from tests.kit.fault_filesystem import FaultFilesystem, Rule, fault_filesystem
from tests.kit.sellers import Sellers, check_survival, numbered_sale
from tests.kit.store_rounds import StoreChild, check_journal

STORE_ROUNDS = 25
START_POINTS = 8


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FaultFilesystem]:
    with fault_filesystem(tmp_path / "volatile") as mounted:
        yield mounted


@pytest.fixture
def agent(tmp_path: Path, disk: FaultFilesystem) -> Iterator[AgentProcess]:
    state = disk.path / "state"
    one = AgentProcess(tmp_path, {"paths": {"state": str(state)}}, program=["-OO", "-m", "agent", "run"])
    one.state = state
    yield one
    one.close()


def _cut_power(agent: AgentProcess, disk: FaultFilesystem, seed: int | None = None) -> None:
    assert agent.process is not None
    disk.cut_power(agent.process, seed=seed)
    agent.close()


@pytest.mark.timeout(limit_s(STORE_ROUNDS, 5))
def test_nothing_acknowledged_is_lost_wherever_the_power_goes(disk: FaultFilesystem) -> None:
    """In the middle of a change chosen at random: a write, a fsync, a truncation of the WAL."""
    folder = disk.path / "store"
    folder.mkdir()
    sync_folder(disk.path)
    chance = random.Random(1848)
    acknowledged: dict[int, str] = {}
    stored, found, done = 0, 0, rounds(STORE_ROUNDS)
    for round_ in range(done):
        child = StoreChild(folder, chance.choice([1, 8, 64]))
        try:
            child.until(0)  # what a start does is looked at below
            disk.halt_at(chance.randrange(1, 400))
            assert disk.await_halt(60)
        finally:
            disk.cut_power(child.process, seed=chance.randrange(1 << 30) if chance.random() < 0.8 else None)
            told = child.rest()
        assert not told.keys() & acknowledged.keys(), "a sequence was given twice"
        assert all(sequence > stored for sequence in told), f"round {round_} went back"
        acknowledged |= told
        stored, found = check_journal(folder / "agent.db", acknowledged)
        assert found == len(acknowledged), f"round {round_}"
    tell("power cut under load, store alone", done, len(acknowledged), found)


@pytest.mark.timeout(limit_s(START_POINTS, 10))
def test_a_first_start_may_be_cut_off_anywhere(agent: AgentProcess, disk: FaultFilesystem) -> None:
    """Each change that a first start makes is found by running it once; afterwards the terminal starts and sells."""
    disk.halt_at(0)
    agent.start()
    changes = disk.halt_at(0)
    agent.kill()
    points = sorted(random.Random(7).sample(range(1, changes + 1), min(rounds(START_POINTS), changes)))
    acknowledged = survived = 0
    for point in points:
        disk.path.joinpath("state").rename(disk.path / f"state-before-{point}")
        sync_folder(disk.path)
        disk.halt_at(point)
        agent.start(wait=False)
        assert disk.await_halt(30), f"change {point} of {changes} never came"
        _cut_power(agent, disk, seed=point)
        agent.start()
        with Sellers(agent.run / "payment.sock") as sellers:
            sellers.sell(5)
        _cut_power(agent, disk)
        agent.start()
        assert agent.stop() == 0
        acknowledged += sellers.count
        survived += check_survival(agent.state / "agent.db", sellers.acknowledged, f"cut off at change {point}")
    tell("power cut in a first start, whole agent", len(points), acknowledged, survived)


def test_what_a_failed_fsync_left_behind_is_not_taken_for_stored(agent: AgentProcess, disk: FaultFilesystem) -> None:
    """The record is refused, the process killed; the next one finds the record in the WAL: seen there, not durable."""
    agent.start()
    with Sellers(agent.run / "payment.sock") as sellers:
        sellers.sell(20)
    record = numbered_sale(999)
    disk.break_with(Rule("fsync", "EIO", path="agent.db"))
    answer = call(agent.run / "payment.sock", "transaction.record", record)
    assert answer["error"]["data"]["code"] == "STORE_UNAVAILABLE"
    agent.kill()
    disk.heal()
    agent.start()
    stored = call(agent.run / "payment.sock", "transaction.record", record)["result"]
    with Sellers(agent.run / "payment.sock", 1000) as more:
        more.sell(20)
    acknowledged = {**sellers.acknowledged, record["transaction_id"]: stored["sequence"], **more.acknowledged}
    _cut_power(agent, disk)
    agent.start()
    assert agent.stop() == 0
    check_survival(agent.state / "agent.db", acknowledged, "a failed fsync, a kill, a power cut")
