"""SIGKILL of collectors, broker and database server at any moment: what was signed for is held, and nothing is lost.

A swarm of terminals writes on and on; two collectors share the work over one store. After each kill the store must hold
everything that any terminal has a signature for; in the end it holds what the terminals wrote, row by row.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.fleet.collector import reading, verify
from agent.fleet.collector.database import Database, open_store
from agent.fleet.collector.held import Rows
from tests.kit.broker import Broker
from tests.kit.collector_process import CollectorProcess, new_key, public_bytes
from tests.kit.crash_rounds import limit_s, rounds, tell
from tests.kit.postgres import Postgres
from tests.kit.swarm import Swarm

IN_CI = 8
TERMINALS, MANY_TERMINALS = 100, 1_000
RESEND_S, MANY_RESEND_S = 2.0, 15.0  # longer than an answer takes, or terminals only repeat themselves
DRAIN_S = 300.0


def _held(database: Database) -> dict[str, list[tuple[int, bytes]]]:
    """Terminal → (sequence, hash) of every row, in order."""
    found: dict[str, list[tuple[int, bytes]]] = {}
    with database.reading() as session:
        for terminal, sequence, hash_ in session.rows(
            "SELECT t.terminal, e.sequence, e.hash FROM entries e JOIN journals j ON j.id = e.journal"
            " JOIN terminals t ON t.id = j.terminal ORDER BY e.journal, e.sequence"
        ):
            found.setdefault(terminal, []).append((sequence, bytes(hash_)))
    return found


class _Scene:
    def __init__(self, folder: Path, store: str, server: Postgres | None) -> None:
        self.chance = random.Random(time.time_ns())
        self.store, self.server = store, server
        self.key = new_key(folder)
        # Saved once a second: after a kill it comes back with what was true then, old messages and all.
        self.broker = Broker(folder, saves=False, config="autosave_interval 1")
        self.collectors = [CollectorProcess(self.broker.port, store, self.key) for _ in range(2)]

    def kill_something(self) -> None:
        """One of them, or several, and start them again."""
        victims = self.chance.choice(
            ["first", "second", "both", "broker", "all", *(["server"] if self.server is not None else [])]
        )
        chosen = {"first": [0], "second": [1], "both": [0, 1], "all": [0, 1]}.get(victims, [])
        for number in chosen:
            self.collectors[number].kill()
        if victims in {"broker", "all"}:
            self.broker.kill()
            time.sleep(self.chance.random() * 0.2)
            self.broker.start()
        if victims == "server" and self.server is not None:
            self.server.kill()
            self.server.start()
        for number in chosen:
            self.collectors[number].start()

    def lost(self, signed: dict[str, tuple[int, bytes]]) -> list[str]:
        """Terminals that have a signature for more than the store holds."""
        with closing(open_store(self.store)) as database:
            held = _held(database)
        return [
            terminal
            for terminal, (sequence, hash_) in signed.items()
            if sequence and (sequence, hash_) not in held.get(terminal, [])
        ]


@pytest.fixture(params=["sqlite", "postgresql"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[_Scene]:
    if request.param == "sqlite":
        yield _Scene(tmp_path, str(tmp_path / "store.db"), None)
        return
    with Postgres() as server:
        yield _Scene(tmp_path, server.store(), server)


@pytest.mark.slow
@pytest.mark.timeout(limit_s(IN_CI, 30) + DRAIN_S)
async def test_what_a_collector_signed_for_is_held_whatever_is_killed(scene: _Scene) -> None:
    done = rounds(IN_CI)
    terminals, resend_s = (TERMINALS, RESEND_S) if done <= IN_CI else (MANY_TERMINALS, MANY_RESEND_S)
    with scene.broker, scene.collectors[0], scene.collectors[1]:
        async with Swarm(
            scene.broker.port, terminals, entries=0, resend_s=resend_s, key=public_bytes(scene.key)
        ) as swarm:
            selling = asyncio.create_task(_sell(swarm))
            for _round in range(done):
                await asyncio.sleep(scene.chance.random())
                signed = {one.book.terminal: (one.delivered, one.book.hashes[one.delivered]) for one in swarm.terminals}
                await asyncio.to_thread(scene.kill_something)
                assert await asyncio.to_thread(scene.lost, signed) == []
            selling.cancel()
            await swarm.all_delivered(DRAIN_S)
            assert swarm.wrong_acks() == []
        ends = [collector.stop() for collector in scene.collectors]
    assert [code for code, _counts in ends] == [0, 0]
    with closing(open_store(scene.store)) as database:
        held = _held(database)
        with database.reading() as session:
            gaps, forks = reading.gaps(session), reading.forks(session)
            journals = reading.journals(session)
            problems = [verify.check(session, one, [], lambda _text: None).problems for one in journals]
            assert all(Rows(session).gaps(one.place.number) == () for one in journals)
    tell("collectors and broker killed", done, swarm.delivered, sum(map(len, held.values())))
    assert held == {
        one.book.terminal: list(enumerate(one.book.hashes[1:], 1)) for one in swarm.terminals if len(one.book)
    }
    # A broker that comes back with old messages can make a terminal seem to insist: such a gap is filled soon after.
    assert not [one for found in gaps.values() for one in found if one.filled_ms is None]
    assert forks == {}
    assert not any(problems)


async def _sell(swarm: Swarm) -> None:
    """Every terminal writes a little, again and again."""
    while True:
        for terminal in swarm.terminals:
            terminal.book.write(2)
            terminal.pump()
        await asyncio.sleep(len(swarm.terminals) / 1_000)  # 2,000 entries a second
