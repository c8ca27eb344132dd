"""The wall clock is wrong: 1970 at the start, ten years ahead, 1970 again, all while records come in.

Only the wall clock is moved (libfaketime leaves the monotonic one alone), as an RTC without a battery and a bad time
server do. Nothing may be lost, given a number twice, or thrown away because it looks old.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.demo import evidence
from tests.kit.agent_process import ROOT, AgentProcess, call
from tests.kit.sellers import Sellers, check_survival, numbered_sale

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
YEAR_S = 365 * 86400
AGES_AGO = f"-{56 * YEAR_S}"
# libfaketime 0.9.10 answers EINVAL to clock_nanosleep with an absolute time, as time.sleep uses it; not so to select.
SLEEP_BY_SELECT = (
    "import select, time\ntime.sleep = lambda duration_s: select.select([], [], [], duration_s) and None\n"
)


class WrongClock:
    """What the agent's wall clock shows, changed while it runs."""

    def __init__(self, folder: Path) -> None:
        assert LIBRARIES, "libfaketime is missing: make test installs it (Debian: faketime)"
        self._file = folder / "wrong-clock"
        site = folder / "site"  # for the agent's children, too
        site.mkdir()
        (site / "sitecustomize.py").write_text(SLEEP_BY_SELECT)
        self.environment = {
            "PYTHONPATH": f"{site}:{ROOT}",
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }

    def show(self, offset: str) -> None:
        """``offset`` in seconds from the right time, with its sign."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset}\n")
        fresh.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path) -> WrongClock:
    return WrongClock(tmp_path)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    config: dict[str, Any] = {"journal": {"keep_days": 1}}
    one = AgentProcess(tmp_path, config, program=["-OO", "-m", "agent", "run"])
    yield one
    one.close()


def _journal_id(agent: AgentProcess) -> str:
    return evidence.journal_id(agent.state / "agent.db")


def _stored_at(agent: AgentProcess) -> list[int]:
    """Milliseconds since 1970 of every entry, in order of sequence."""
    with closing(sqlite3.connect(f"file:{agent.state / 'agent.db'}?mode=ro", uri=True)) as db:
        return [at for (at,) in db.execute("SELECT at FROM entries ORDER BY sequence")]


def test_a_clock_that_jumps_costs_no_record_and_no_number(agent: AgentProcess, clock: WrongClock) -> None:
    clock.show(AGES_AGO)
    agent.start(env=clock.environment, watchdog_s=4.0)
    before = _journal_id(agent)
    with Sellers(agent.run / "payment.sock") as sellers:
        for offset in (AGES_AGO, f"+{10 * YEAR_S}", "+0", f"-{YEAR_S}", f"+{10 * YEAR_S}", AGES_AGO):
            clock.show(offset)
            sellers.sell(150)
        agent.drain_notifications()
        agent.wait_notified("WATCHDOG=1")
    assert not sellers.refused
    assert call(agent.run / "control.sock", "journal.verify")["result"]["intact"]
    agent.kill()
    agent.start(env=clock.environment)  # and once more from 1970, on a journal of the future
    with Sellers(agent.run / "payment.sock", sellers.number) as more:
        more.sell(50)
        clock.show("+0")
        more.sell(50)
    assert _journal_id(agent) == before
    assert agent.stop() == 0
    acknowledged = {**sellers.acknowledged, **more.acknowledged}
    assert len(acknowledged) == sellers.count + more.count
    check_survival(agent.state / "agent.db", acknowledged, "a clock between 1970 and ten years ahead")
    stored_at = _stored_at(agent)
    assert min(stored_at) < 2 * YEAR_S * 1000, "the clock was never wrong: this test shows nothing"
    assert max(stored_at) > (time.time() + 9 * YEAR_S) * 1000
    assert not [event for event in agent.events("fault.raised") if event.get("code") == "SW-AGT-001"][1:]


def test_nothing_is_thrown_away_because_a_clock_says_that_it_is_old(agent: AgentProcess, clock: WrongClock) -> None:
    """Records kept for one day by the configuration, a clock ten years ahead, and not one copy elsewhere."""
    clock.show("+0")
    agent.start(env=clock.environment)
    with Sellers(agent.run / "payment.sock") as sellers:
        sellers.sell(100)
        clock.show(f"+{10 * YEAR_S}")
        sellers.sell(100)
    agent.stop()
    agent.start(env=clock.environment)
    with Sellers(agent.run / "payment.sock", sellers.number) as more:
        more.sell(100)
    assert agent.stop() == 0
    check_survival(
        agent.state / "agent.db", {**sellers.acknowledged, **more.acknowledged}, "kept for a day, ten years on"
    )


def test_a_retained_page_is_the_same_whatever_the_clock_does(agent: AgentProcess, clock: WrongClock) -> None:
    """Pages go by sequence, not by time: none is given twice, none left out, while the clock jumps between them."""
    clock.show("+0")
    agent.start(env=clock.environment)
    offsets = ("+0", AGES_AGO, f"+{10 * YEAR_S}")
    for number in range(30):
        clock.show(offsets[number % 3])
        call(agent.run / "payment.sock", "transaction.record", numbered_sale(number))
    seen: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        clock.show(offsets[len(seen) % 3])
        page = call(agent.run / "control.sock", "transaction.list", {"limit": 7, **cursor})["result"]
        seen += [item["seq"] for item in page["items"]]
        if not page.get("next_cursor"):
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == list(range(1, 31))
