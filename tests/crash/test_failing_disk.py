"""The whole agent on a disk that fails: it says so, acknowledges nothing it could lose, and goes on once the disk does.

At the end of each the power is cut, too: an fsync that failed leaves pages that look written and are not, and only a
power cut tells who believed them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.agent_process import AgentProcess, call
from tests.kit.fault_filesystem import FaultFilesystem, Rule, fault_filesystem
from tests.kit.sellers import Sellers, check_survival

WRITES = "write|truncate|create|unlink|rename|mkdir|rmdir"
FAULTS = {
    "writes answer EIO": (Rule("write", "EIO", path="agent.db"),),
    "fsync answers EIO": (Rule("fsync", "EIO", path="agent.db"),),
    "every third fsync answers EIO": (Rule("fsync", "EIO", path="agent.db", every=3),),
    "writes answer ENOSPC": (Rule("write", "ENOSPC", path="agent.db"),),
    "the file system has become read-only": (Rule(f"{WRITES}|fsync", "EROFS"),),
}
DELAY_S = 2.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FaultFilesystem]:
    with fault_filesystem(tmp_path / "faulty") as mounted:
        yield mounted


@pytest.fixture
def agent(tmp_path: Path, disk: FaultFilesystem) -> Iterator[AgentProcess]:
    state = str(disk.path / "state")
    one = AgentProcess(tmp_path, {"paths": {"state": state}}, program=["-OO", "-m", "agent", "run"])
    one.state = disk.path / "state"
    yield one
    one.close()


def _health(agent: AgentProcess) -> Any:
    return call(agent.run / "control.sock", "health.get")["result"]


def _has_fault(agent: AgentProcess, code: str) -> bool:
    return code in {fault["code"] for fault in _health(agent)["faults"]}


def _power_cut(agent: AgentProcess, disk: FaultFilesystem, acknowledged: dict[str, int], what: str) -> None:
    assert agent.process is not None
    disk.cut_power(agent.process)
    agent.close()
    agent.start()
    assert call(agent.run / "control.sock", "journal.verify")["result"]["intact"]
    assert agent.stop() == 0
    check_survival(agent.state / "agent.db", acknowledged, what)


@pytest.mark.parametrize("what", FAULTS)
def test_a_disk_that_fails_costs_time_and_no_record(agent: AgentProcess, disk: FaultFilesystem, what: str) -> None:
    agent.start(watchdog_s=4.0)
    with Sellers(agent.run / "payment.sock") as sellers:
        sellers.sell(60)
        disk.break_with(*FAULTS[what])
        sellers.until(lambda: disk.hits() > 20, "the disk fails")
        if "third" not in what:
            sellers.until(lambda: sum(sellers.refused.values()) > 20, "records are refused")
            refused_at = sellers.count
            assert _has_fault(agent, "TXN-JRN-001")
            assert sellers.count == refused_at, "acknowledged on a disk that takes nothing"
            agent.drain_notifications()
            agent.wait_notified("WATCHDOG=1")  # a disk that fails is no reason to be started again
        disk.heal()
        sellers.sell(60)  # nobody restarts anything
        sellers.until(lambda: not _has_fault(agent, "TXN-JRN-001"), "the fault is over")
    assert set(sellers.refused) <= {"STORE_FULL", "STORE_UNAVAILABLE"}
    _power_cut(agent, disk, sellers.acknowledged, what)
    assert not [event for event in agent.events("fault.raised") if event.get("code") == "SW-AGT-001"][1:]


def test_a_disk_that_takes_seconds_delays_nobody_but_who_waits_for_it(
    agent: AgentProcess, disk: FaultFilesystem
) -> None:
    agent.start(watchdog_s=4.0)
    with Sellers(agent.run / "payment.sock", clients=8, pipelined=1) as sellers:
        sellers.sell(20)
        disk.break_with(Rule("fsync", path="agent.db", delay_s=DELAY_S))
        waits_s: list[float] = []
        while len(waits_s) < 60 or disk.hits() < 3:
            began = time.monotonic()
            _health(agent)
            waits_s.append(time.monotonic() - began)
            time.sleep(0.05)
        disk.heal()
        sellers.sell(20)
    waits_s.sort()
    print(f"\n{DELAY_S:g} s a flush: p99 of other calls {waits_s[len(waits_s) * 99 // 100] * 1000:.1f} ms")
    assert waits_s[len(waits_s) * 99 // 100] < DELAY_S / 4
    assert not sellers.refused
    assert max(sellers.waits_s) >= DELAY_S  # who was acknowledged has waited for the disk
    assert not agent.events("watchdog.withheld")
    _power_cut(agent, disk, sellers.acknowledged, f"{DELAY_S:g} s a flush")


def test_writes_that_are_cut_short_are_finished(agent: AgentProcess, disk: FaultFilesystem) -> None:
    agent.start()
    # Not of the shared memory: the kernel itself writes that back, and for it a short write is a lost page.
    disk.break_with(Rule("write", path=r"agent\.db(-wal)?$", short=True))
    with Sellers(agent.run / "payment.sock") as sellers:
        sellers.sell(200)
    assert not sellers.refused
    _power_cut(agent, disk, sellers.acknowledged, "short writes")
