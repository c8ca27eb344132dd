"""The whole agent on a disk that is really full: it says so, it alarms, and it goes on by itself when space returns."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.demo import evidence
from tests.kit.agent_process import AgentProcess, call
from tests.kit.sellers import numbered_sale

SIZE_MIB = 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=0700", "pos-agent-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root, and a kernel that lets it mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _record(number: int) -> dict[str, Any]:
    return {**numbered_sale(number), "memo": "a receipt of the usual length " * 7}


def _fault_codes(agent: AgentProcess) -> set[str]:
    return {fault["code"] for fault in call(agent.run / "control.sock", "health.get")["result"]["faults"]}


def _wait_for(what: str, agent: AgentProcess, *, present: bool) -> None:
    deadline = time.monotonic() + 30
    while (what in _fault_codes(agent)) is not present:
        assert time.monotonic() < deadline, f"{what}: {_fault_codes(agent)}"
        time.sleep(0.05)


def test_a_full_disk_refuses_alarms_and_recovers(tmp_path: Path, small_disk: Path) -> None:
    state = small_disk / "state"
    agent = AgentProcess(tmp_path, {"paths": {"state": str(state), "run": str(tmp_path / "run")}})
    agent.start()
    acknowledged: dict[str, int] = {}
    try:
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(2 * 1024 * 1024))
        number = 0
        while True:  # until the agent says that it is full
            number += 1
            record = _record(number)
            answer = call(tmp_path / "run" / "payment.sock", "transaction.record", record)
            if "error" in answer:
                assert answer["error"]["data"]["code"] == "STORE_FULL"
                assert answer["error"]["data"]["hint"]
                break
            acknowledged[record["transaction_id"]] = answer["result"]["sequence"]
        assert number > 20
        _wait_for("TXN-JRN-001", agent, present=True)
        assert call(agent.run / "control.sock", "agent.info")["result"]["journal"]["entries"] == len(acknowledged)

        ballast.unlink()  # space returns: nobody restarts anything
        answer = call(agent.run / "payment.sock", "transaction.record", record)
        acknowledged[record["transaction_id"]] = answer["result"]["sequence"]
        _wait_for("TXN-JRN-001", agent, present=False)
        agent.kill()
        agent.start()
        assert agent.stop() == 0
        stored = {entry.transaction_id: entry.sequence for entry in evidence.entries(state / "agent.db")}
        survived = sum(stored.get(one) == sequence for one, sequence in acknowledged.items())
        print(f"\nfull disk: {len(acknowledged)} acknowledged, {survived} survived")
        assert survived == len(acknowledged) == evidence.check_chain(state / "agent.db")
    finally:
        agent.close()
