"""SIGKILL of the whole agent under load, 100 rounds over one journal: no acknowledged record is missing."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.demo import evidence
from tests.kit.agent_process import AgentProcess

ROUNDS = 100
STOPS = 10
CLIENTS = 4
PIPELINED = 8


def _record(number: int) -> dict[str, Any]:
    return {
        "transaction_id": str(uuid.uuid4()),
        "state": "approved",
        "type": "sale",
        "provider": "acquirer-a",
        "mid": "104110058120001",
        "tid": "00010001",
        "amount_minor": 100 + number,
        "currency": "156",
        "stan": f"{number % 999999 + 1:06d}",
        "batch_no": f"{number // 999999 + 1:06d}",
        "local_at": "2026-11-21T10:00:00+08:00",
    }


class _Seller(threading.Thread):
    """Keeps some records in flight on one connection; notes what was acknowledged, until the agent is gone."""

    def __init__(self, path: Path, first_number: int) -> None:
        super().__init__()
        self._path = path
        self.number = first_number
        self.acknowledged: dict[str, int] = {}

    def run(self) -> None:
        sent: dict[int, str] = {}
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(self._path))
            answers = sock.makefile("rb")
            while True:
                while len(sent) < PIPELINED:
                    record = _record(self.number)
                    request = {"jsonrpc": "2.0", "id": self.number, "method": "transaction.record", "params": record}
                    sent[self.number] = record["transaction_id"]
                    self.number += CLIENTS
                    sock.sendall(json.dumps(request).encode() + b"\n")
                line = answers.readline()
                if not line.endswith(b"\n"):
                    return  # an answer cut short was not received: nothing was acknowledged by it
                answer = json.loads(line)
                self.acknowledged[sent.pop(answer["id"])] = answer["result"]["sequence"]


def _sell_until(agent: AgentProcess, number: int, enough: int, end: Callable[[], object]) -> tuple[dict[str, int], int]:
    """Sell on all clients, call ``end`` once ``enough`` was acknowledged; what was, and the next free number."""
    sellers = [_Seller(agent.run / "payment.sock", number + index) for index in range(CLIENTS)]
    for seller in sellers:
        seller.start()
    deadline = time.monotonic() + 20
    while sum(len(seller.acknowledged) for seller in sellers) < enough:
        assert time.monotonic() < deadline, "the agent acknowledges nothing"
        time.sleep(0.001)
    end()
    acknowledged: dict[str, int] = {}
    for seller in sellers:
        seller.join()
        acknowledged.update(seller.acknowledged)
        number = max(number, seller.number)
    return acknowledged, number


def _check(agent: AgentProcess, acknowledged: dict[str, int], what: str) -> None:
    stored = {entry.transaction_id: entry.sequence for entry in evidence.entries(agent.state / "agent.db")}
    length = evidence.check_chain(agent.state / "agent.db")
    survived = sum(stored.get(transaction_id) == sequence for transaction_id, sequence in acknowledged.items())
    print(f"\n{what}: {len(acknowledged)} acknowledged, {survived} survived, {length} entries, chain intact")
    assert survived == len(acknowledged)
    assert len(set(acknowledged.values())) == len(acknowledged)


@pytest.mark.timeout(600)
def test_no_acknowledged_record_is_lost_by_sigkill(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path, program=["-OO", "-m", "agent", "run"])
    rng = random.Random(2026)
    acknowledged: dict[str, int] = {}
    number = 1
    try:
        for _ in range(ROUNDS):
            agent.start()
            more, number = _sell_until(agent, number, rng.randrange(1, 120), agent.kill)
            assert not acknowledged.keys() & more.keys()
            acknowledged.update(more)
        agent.start()
        assert agent.stop() == 0
    finally:
        agent.close()
    _check(agent, acknowledged, f"{ROUNDS} kills")


def test_an_orderly_stop_under_load_ends_by_itself_and_loses_nothing(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path, program=["-OO", "-m", "agent", "run"])
    rng = random.Random(7)
    acknowledged: dict[str, int] = {}
    codes = []
    number = 1
    try:
        for _ in range(STOPS):
            agent.start()
            more, number = _sell_until(agent, number, rng.randrange(1, 200), lambda: codes.append(agent.stop()))
            acknowledged.update(more)
    finally:
        agent.close()
    assert codes == [0] * STOPS
    assert not [event for event in agent.events("fault.raised") if "SW-AGT-001" in str(event)]
    _check(agent, acknowledged, f"{STOPS} orderly stops")
