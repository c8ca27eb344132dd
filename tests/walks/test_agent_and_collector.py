"""Both real sides: the agent and ``posctl fleet collect`` at one broker, both killed, one set back, in mid-drain."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.kit import orders
from tests.kit.broker import Broker, eventually
from tests.kit.collector_process import CollectorProcess, new_key
from tests.kit.contract_peer import Peer, sale
from tests.kit.contract_walk import SITE, Terminal, online, uplink
from tests.kit.filled_journal import fill

COUNT = 3_000


def policy_with(key: Path) -> bytes:
    """A signed policy that knows the collector of a key file."""
    known = json.loads(key.read_text())
    collector = {name: known[name] for name in ("keyid", "public_key", "person", "organisation", "roles")}
    return orders.signed_policy(orders.policy_payload(keys=[*orders.policy_payload()["keys"], collector]))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return new_key(tmp_path)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path, saves=False) as running:
        yield running


def held(store: Path) -> dict[int, bytes]:
    """Sequence → hash, as the collector's file has them."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10.0)) as db:
        return {sequence: bytes(hash_) for sequence, hash_ in db.execute("SELECT sequence, hash FROM entries")}


def delivered(terminal: Terminal) -> int:
    rows = terminal.query("SELECT value FROM meta WHERE name = 'delivered_upto'")
    return int(rows[0][0]) if rows else 0


def tell(terminal: Terminal, store: Path) -> None:
    ours, theirs = dict(terminal.query("SELECT sequence, hash FROM entries")), held(store)
    print(f"acknowledged {len(ours)}, delivered {delivered(terminal)}, held by the collector {len(theirs)}")
    assert theirs == ours


async def test_whoever_dies_and_whoever_is_set_back_the_collector_holds_everything_in_the_end(
    tmp_path: Path, broker: Broker, key: Path
) -> None:
    config = {"uplink": uplink(broker.port), "upload": {"entries_per_s": 1_000.0}}
    terminal = Terminal(tmp_path, broker.port, config, policy=policy_with(key))
    await fill(terminal.agent.state, COUNT)
    store = tmp_path / "collector.db"
    with CollectorProcess(broker.port, str(store), key, site=SITE) as collector, terminal.agent:
        await online(broker)
        for part in (300, 1_200):
            await eventually(lambda part=part: delivered(terminal) > part, 30.0, "a part of it")  # type: ignore[misc]
            await asyncio.to_thread(collector.kill)
            assert delivered(terminal) <= max(held(store)), "never more than the collector's own commit has"
            if part == 300:
                for name in (store, Path(f"{store}-wal")):
                    if name.exists():
                        await asyncio.to_thread(shutil.copy, name, f"{name}.old")
            await asyncio.to_thread(collector.start)
            await asyncio.to_thread(terminal.agent.kill)  # a new connection need not wait for the answer that died
            await asyncio.to_thread(terminal.agent.start)
        await eventually(lambda: delivered(terminal) == COUNT, 60.0, "all of it")
        tell(terminal, store)
        await asyncio.to_thread(collector.kill)
        for name in (store, Path(f"{store}-wal"), Path(f"{store}-shm")):  # its store is set back to an old copy
            name.unlink(missing_ok=True)
            if (old := Path(f"{name}.old")).exists():
                await asyncio.to_thread(shutil.copy, old, name)
        assert len(held(store)) < COUNT
        await asyncio.to_thread(collector.start)
        with Peer(terminal.payment) as peer:
            peer.record(sale())  # by it the loss is noticed
        await eventually(lambda: len(held(store)) == COUNT + 1, 90.0, "all of it once more")
        await eventually(lambda: delivered(terminal) == COUNT + 1, 30.0, "the mark forward again")
        tell(terminal, store)
