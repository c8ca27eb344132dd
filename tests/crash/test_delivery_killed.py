"""A terminal, its broker and a collector, each killed at any moment: what the terminal calls delivered is held there.

Three real programs and three files. After every kill the collector's store must hold what the terminal's journal says
was delivered; in the end it holds every acknowledged record, hash by hash.
"""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.demo import evidence
from agent.store import marks
from agent.store.sqlite import open_readonly
from tests.kit import orders
from tests.kit.agent_process import AgentProcess
from tests.kit.broker import Broker
from tests.kit.collector_process import CollectorProcess, new_key
from tests.kit.contract_walk import uplink
from tests.kit.crash_rounds import limit_s, rounds, tell
from tests.kit.sellers import Sellers, check_survival

IN_CI = 8
DRAIN_S = 90.0
HELD = (
    "SELECT e.sequence, e.hash FROM entries e JOIN journals j ON j.id = e.journal"
    " JOIN terminals t ON t.id = j.terminal WHERE t.terminal = 'T-0001' ORDER BY e.sequence"
)


class Fleet:
    """One terminal, one broker, one collector."""

    def __init__(self, folder: Path) -> None:
        key = new_key(folder)
        policy = orders.policy_payload()
        policy["keys"].append(json.loads(key.with_name(key.name.replace(".key.", ".pub.")).read_text()))
        # Saved once a second: after a kill it comes back with what was true then, old messages and all.
        self.broker = Broker(folder, saves=False, config="autosave_interval 1")
        self.store = folder / "collected.db"
        self.collector = CollectorProcess(self.broker.port, str(self.store), key, site="shop-1")
        config = {"uplink": uplink(self.broker.port), "upload": {"entries_per_s": 5000.0}}
        self.agent = AgentProcess(folder, config, program=["-OO", "-m", "agent", "run"])
        (folder / "etc" / "policy.json").write_bytes(orders.signed_policy(policy))

    def start(self) -> None:
        self.broker.start()
        self.collector.start()
        self.agent.start()

    def kill(self, victims: str, pause_s: float) -> None:
        """Kill one of them or all, and start them again after a while."""
        if victims in ("agent", "all"):
            self.agent.kill()
        if victims in ("collector", "all"):
            self.collector.kill()
        if victims in ("broker", "all"):
            self.broker.kill()
        assert self.delivered() <= len(self.held()), "delivered, and the collector does not have it"
        time.sleep(pause_s)
        if victims in ("broker", "all"):
            self.broker.start()
        if victims in ("collector", "all"):
            self.collector.start()
        if victims in ("agent", "all"):
            self.agent.start()

    def delivered(self) -> int:
        with closing(open_readonly(self.agent.state / "agent.db")) as db:
            return marks.marks(db).delivered

    def held(self) -> list[tuple[int, bytes]]:
        """Sequence and hash of what the collector has, without a hole from the first on."""
        with closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True, timeout=10)) as db:
            rows = db.execute(HELD).fetchall()
        assert [sequence for sequence, _hash in rows] == list(range(1, len(rows) + 1))
        return rows

    def close(self) -> None:
        self.agent.close()
        self.collector.__exit__(None, None, None)
        if self.broker.running:
            self.broker.kill()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    one = Fleet(tmp_path)
    yield one
    one.close()


@pytest.mark.timeout(limit_s(IN_CI, 20) + DRAIN_S)
def test_what_is_called_delivered_is_held_whoever_is_killed(fleet: Fleet) -> None:
    chance = random.Random(2718)
    fleet.start()
    acknowledged: dict[str, int] = {}
    number, done = 1, rounds(IN_CI)
    for _ in range(done):
        with Sellers(fleet.agent.run / "payment.sock", number) as sellers:
            sellers.sell(chance.randrange(10, 200))
            victims = chance.choice(["agent", "collector", "broker", "all"])
            fleet.kill(victims, chance.uniform(0.0, 0.2))
            if victims in ("collector", "broker"):
                sellers.sell(20)  # neither is anybody's business who sells
        number = sellers.number
        acknowledged.update(sellers.acknowledged)
    deadline = time.monotonic() + DRAIN_S
    while fleet.delivered() < max(acknowledged.values()):
        assert time.monotonic() < deadline, f"delivered: {fleet.delivered()} of {max(acknowledged.values())}"
        time.sleep(0.1)
    assert fleet.agent.stop() == 0
    database = fleet.agent.state / "agent.db"
    check_survival(database, acknowledged, f"{done} kills of terminal, broker, collector")
    entries = [(one.sequence, one.hash) for one in evidence.entries(database)]
    held = dict(fleet.held())
    survived = sum(held.get(sequence) == hash_ for sequence, hash_ in entries)
    tell("SIGKILL of terminal, broker, collector; in the collector's store", done, len(entries), survived)
    assert survived == len(entries)
