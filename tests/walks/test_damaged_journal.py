"""The file under a running agent is spoilt: records are taken on, what was acknowledged is there or named missing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kit import damage
from tests.kit.agent_process import AgentProcess, call
from tests.kit.sellers import numbered_sale

FIRST, THEN = 150, 20
WAIT_S = 60.0


def _record(number: int) -> dict[str, Any]:
    return {**numbered_sale(number), "memo": "a receipt of the usual length " * 6}


class Till:
    """Hands records over and remembers what was acknowledged: sequence → transaction_id."""

    def __init__(self, agent: AgentProcess) -> None:
        self._agent = agent
        self.acknowledged: dict[int, str] = {}

    def sell(self, count: int) -> None:
        for number in range(count):
            record = _record(number)
            answer = call(self._agent.run / "payment.sock", "transaction.record", record, timeout_s=WAIT_S)
            sequence = answer["result"]["sequence"]
            assert sequence not in self.acknowledged, "a sequence was given out twice"
            self.acknowledged[sequence] = record["transaction_id"]


def _flip(state: Path) -> None:
    """One bit in the middle of a page of entries, in the text of a record."""
    content = (state / "agent.db").read_bytes()
    at = content.index(b"a receipt of the usual length", len(content) // 2)
    with (state / "agent.db").open("r+b") as file:
        file.seek(at)
        file.write(bytes([content[at] ^ 1]))


def _overwrite_header(state: Path) -> None:
    with (state / "agent.db").open("r+b") as file:
        file.write(b"\xff" * 512)


def _cut(state: Path) -> None:
    os.truncate(state / "agent.db", (state / "agent.db").stat().st_size * 2 // 3)


def _cut_wal(state: Path) -> None:
    os.truncate(state / "agent.db-wal", (state / "agent.db-wal").stat().st_size // 3)


def _zero_pages(state: Path) -> None:
    with (state / "agent.db").open("r+b") as file:
        file.seek(8 * damage.PAGE)
        file.write(bytes(6 * damage.PAGE))


def _delete(state: Path) -> None:
    for name in damage.PARTS:
        (state / name).unlink()


SPOILT: dict[str, Callable[[Path], None]] = {
    "a bit of a record": _flip,
    "six pages": _zero_pages,
    "the file's end": _cut,
    "the log's end": _cut_wal,
    "both files deleted": _delete,
}


def _wait(what: str, is_so: Callable[[], bool], agent: AgentProcess) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline, f"{what}\n{agent.log()[-3000:]}"
        time.sleep(0.1)


def _verify(agent: AgentProcess) -> dict[str, Any]:
    found: dict[str, Any] = call(agent.run / "control.sock", "journal.verify", timeout_s=WAIT_S)["result"]
    return found


def _count(agent: AgentProcess, till: Till, what: str, capsys: pytest.CaptureFixture[str]) -> set[int]:
    """acknowledged = survived + named missing; returns the missing ones."""
    stored = damage.stored(agent.state / "agent.db")
    missing = damage.named_missing(agent.state / "agent.db")
    survived = {one for one, name in till.acknowledged.items() if one in stored and name in stored[one][0]}
    with capsys.disabled():
        print(f"\n{what}: {len(till.acknowledged)} acknowledged, {len(survived)} survived, {len(missing)} missing")
    assert not survived & missing
    assert till.acknowledged.keys() <= survived | missing
    return missing


def _has_fault(agent: AgentProcess) -> bool:
    faults = call(agent.run / "control.sock", "health.get")["result"]["faults"]
    return "TXN-JRN-002" in {fault["code"] for fault in faults}


@pytest.mark.parametrize("what", SPOILT)
def test_recording_goes_on_and_nothing_acknowledged_is_lost_in_silence(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with AgentProcess(tmp_path) as agent:
        assert agent.process is not None
        till = Till(agent)
        till.sell(FIRST)
        # A start empties the log into the file; what comes then is in the log alone.
        assert agent.stop() == 0
        agent.start()
        till.sell(THEN)
        before = call(agent.run / "control.sock", "agent.info")["result"]["journal_id"]
        pid = agent.process.pid
        content = {name: (agent.state / name).read_bytes() for name in damage.PARTS}
        SPOILT[what](agent.state)
        till.sell(THEN)
        _verify(agent)
        _wait("it was replaced and read out", lambda: bool(agent.events("journal.rebuilt")), agent)
        till.sell(THEN)
        assert agent.process.pid == pid
        assert agent.process.poll() is None
        missing = _count(agent, till, what, capsys)
        aside = damage.set_aside(agent.state)
        assert len(aside) == 1
        if what not in ("the log's end", "the file's end"):
            assert (agent.state / f"{aside[0].name}-wal").read_bytes()[: len(content["agent.db-wal"])]
        found = _verify(agent)
        assert set(found["missing"]) == set(sorted(missing)[:100])
        assert found["intact"] is (not missing)
        assert _has_fault(agent) is bool(missing)
        after = call(agent.run / "control.sock", "agent.info")["result"]
        assert after["journal_id"] != before
        told = damage.report(agent.state)
        assert (told["old_journal_id"], told["new_journal_id"]) == (before, after["journal_id"])
        named = {one for first, last in told["missing"] for one in range(first, last + 1)}
        assert named == missing
        agent.kill()
        agent.start()
        till.sell(5)
        assert _count(agent, till, f"{what}, after a kill", capsys) == missing
        assert agent.stop() == 0


@pytest.mark.parametrize("what", ["the file's end", "the log's end", "both files deleted"])
def test_what_was_spoilt_while_no_agent_ran_is_found_at_the_start(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with AgentProcess(tmp_path) as agent:
        till = Till(agent)
        till.sell(FIRST)
        assert agent.stop() == 0
        agent.start()
        till.sell(THEN)
        agent.kill()
        SPOILT[what](agent.state)
        agent.start()
        till.sell(THEN)
        _wait("it was replaced and read out", lambda: bool(agent.events("journal.rebuilt")), agent)
        missing = _count(agent, till, f"{what}, found at the start", capsys)
        assert set(_verify(agent)["missing"]) == set(sorted(missing)[:100])
        assert agent.stop() == 0


def test_a_file_whose_header_is_gone_is_read_out_without_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with AgentProcess(tmp_path) as agent:
        till = Till(agent)
        till.sell(FIRST)
        assert agent.stop() == 0
        _overwrite_header(agent.state)
        agent.start()
        till.sell(THEN)
        _wait("it was read out", lambda: bool(agent.events("journal.rebuilt")), agent)
        assert _count(agent, till, "the header", capsys) == set()
        _wait("it is found whole", lambda: not _has_fault(agent), agent)
        assert _verify(agent)["intact"]
        assert agent.stop() == 0
