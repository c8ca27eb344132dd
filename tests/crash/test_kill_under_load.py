"""SIGKILL of the whole agent under load, 100 rounds over one journal: no acknowledged record is missing."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.agent_process import AgentProcess
from tests.kit.crash_rounds import limit_s, rounds, tell
from tests.kit.sellers import Sellers, check_survival

ROUNDS = 100
STOPS = 10


def _sell_until(agent: AgentProcess, number: int, enough: int, end: Callable[[], object]) -> tuple[dict[str, int], int]:
    """Sell on all clients, call ``end`` once ``enough`` was acknowledged; what was, and the next free number."""
    with Sellers(agent.run / "payment.sock", number) as sellers:
        sellers.sell(enough, timeout_s=20)
        end()
    return sellers.acknowledged, sellers.number


@pytest.mark.timeout(limit_s(ROUNDS, 5))
def test_no_acknowledged_record_is_lost_by_sigkill(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path, program=["-OO", "-m", "agent", "run"])
    rng = random.Random(2026)
    acknowledged: dict[str, int] = {}
    number, done = 1, rounds(ROUNDS)
    try:
        for _ in range(done):
            agent.start()
            more, number = _sell_until(agent, number, rng.randrange(1, 120), agent.kill)
            assert not acknowledged.keys() & more.keys()
            acknowledged.update(more)
        agent.start()
        assert agent.stop() == 0
    finally:
        agent.close()
    survived = check_survival(agent.state / "agent.db", acknowledged, f"{done} kills")
    tell("SIGKILL under load, whole agent", done, len(acknowledged), survived)


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
    check_survival(agent.state / "agent.db", acknowledged, f"{STOPS} orderly stops")
