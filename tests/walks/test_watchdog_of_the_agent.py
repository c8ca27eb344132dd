"""The watchdog is fed only while every loop and the writer thread make progress: each is made to hang in turn."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.demo.evidence import BrokerWitness
from agent.runtime.identifiers import uuid7
from tests.kit import orders
from tests.kit.agent_process import AgentProcess, call
from tests.kit.broker import Broker
from tests.kit.stuck_agent import PLACES

PREFIX = "pos/v1/shop-1/T-0001/"
WITHHELD_FOR_S = 2.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


@pytest.mark.parametrize("place", [*PLACES, "store writer", "the event loop"])
def test_pings_stop_when_a_part_hangs(place: str, tmp_path: Path, broker: Broker) -> None:
    uplink = {"host": broker.host, "port": broker.port, "tls": False, "backoff_limit_s": 0.2, "backoff_first_s": 0.1}
    config = {"uplink": uplink, "health": {"interval_s": 0.3, "read_deadline_s": 0.2}}
    agent = AgentProcess(tmp_path / "agent", config, program=["-m", "tests.kit.stuck_agent"])
    (tmp_path / "agent" / "etc" / "policy.json").write_bytes(orders.signed_policy())
    try:
        agent.start(env={"STUCK": place}, watchdog_s=0.4)
        agent.wait_notified("WATCHDOG=1")
        assert "EXTEND_TIMEOUT_USEC=30000000" in agent.notifications, "opening the store may take long"
        deadline = time.monotonic() + 20
        while not agent.events("uplink.connected") and "connected" not in agent.log():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert agent.process is not None
        agent.process.send_signal(signal.SIGUSR1)
        _give_work(place, agent, broker)
        if place != "the event loop":
            agent.wait_notified_like("STATUS=no progress: ", place)
        agent.drain_notifications()
        agent.collect_notifications(WITHHELD_FOR_S)
        assert "WATCHDOG=1" not in agent.notifications
    finally:
        agent.close()


def _give_work(place: str, agent: AgentProcess, broker: Broker) -> None:
    """What the part would have to do now."""
    if place == "uplink":
        broker.restart(keep_state=True)
    elif place == "inbound":
        BrokerWitness(broker.port).publish(f"{PREFIX}in/req/ping", orders.signed_order())
    elif place != "the event loop":
        with contextlib.suppress(OSError, AssertionError):  # the answer may never come
            order = {"command_id": uuid7(), "name": "ping", "arguments": {}, "reason": "test"}
            call(agent.run / "control.sock", "command.run", order, timeout_s=1)
