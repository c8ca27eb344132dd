"""SIGKILL under load, 100 rounds on one journal: nothing acknowledged is missing, the chain is intact, no hole."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from pathlib import Path

import pytest

from agent.contract.transaction import decode_record
from tests.kit.crash_rounds import limit_s, rounds, tell
from tests.kit.store_records import BINDINGS, open_journal, sale
from tests.kit.store_rounds import StoreChild, check_journal

ROUNDS = 100


def one_round(folder: Path, clients: int, acknowledgements: int) -> dict[int, str]:
    """Start the child, kill it after so many acknowledgements; sequence → transaction_id of all it told of."""
    child = StoreChild(folder, clients)
    try:
        child.until(acknowledgements)
    finally:
        told = child.rest()
    return told


@pytest.mark.slow
@pytest.mark.timeout(limit_s(ROUNDS, 5))
def test_nothing_acknowledged_is_lost_by_a_hundred_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(4711)  # the same rounds in every run
    acknowledged: dict[int, str] = {}
    stored = found = 0
    done = rounds(ROUNDS)
    for round_ in range(done):
        told = one_round(tmp_path, chance.choice([1, 8, 64]), chance.randrange(1, 120))
        assert not told.keys() & acknowledged.keys(), "a sequence was given twice"
        assert all(sequence > stored for sequence in told), f"round {round_} went back"
        acknowledged |= told
        stored, found = check_journal(tmp_path / "agent.db", acknowledged)
        assert found == len(acknowledged), f"round {round_}"
    with capsys.disabled():
        tell("SIGKILL under load, store alone", done, len(acknowledged), found)
    assert len(acknowledged) >= done


async def test_a_torn_tail_of_the_wal_costs_only_what_was_not_acknowledged(tmp_path: Path) -> None:
    """A power cut may leave the last, unfinished write in pieces: cut and spoilt tails, at many places."""
    async with open_journal(tmp_path / "") as opened:
        for number in range(20):
            await opened.store(sale(stan=f"{number:06d}"))
        frozen = {name: (tmp_path / name).read_bytes() for name in ("agent.db", "agent.db-wal")}
        lengths = []
        for number in range(20, 24):  # the length of the WAL after each further acknowledgement
            await opened.store(sale(stan=f"{number:06d}"))
            lengths.append((number + 1, (tmp_path / "agent.db-wal").stat().st_size))
        whole = (tmp_path / "agent.db-wal").read_bytes()
    chance = random.Random(17)
    for trial in range(40):
        folder = tmp_path / f"trial{trial}"
        folder.mkdir()
        (folder / "agent.db").write_bytes(frozen["agent.db"])
        cut = chance.randrange(len(frozen["agent.db-wal"]), len(whole))
        (folder / "agent.db-wal").write_bytes(whole[:cut] + chance.randbytes(chance.choice([0, 100, 5000])))
        durable = max((count for count, size in lengths if size <= cut), default=20)
        async with open_journal(folder) as opened:
            found = await opened.journal.verify()
            assert found.intact
            assert found.upto_sequence == durable
            assert await opened.store(sale(stan="000099")) == durable + 1


@pytest.mark.parametrize("clients", [1, 32])
def test_an_application_that_sends_again_after_a_kill_stores_nothing_twice(tmp_path: Path, clients: int) -> None:
    told = one_round(tmp_path, clients, 50)
    length, found = check_journal(tmp_path / "agent.db", told)
    assert found == len(told)

    async def send_again() -> None:
        with sqlite3.connect(tmp_path / "agent.db") as db:
            records = [text for (text,) in db.execute("SELECT record FROM entries ORDER BY sequence")]
        db.close()
        async with open_journal(tmp_path) as opened:
            for sequence, text in enumerate(records, 1):
                stored = await opened.journal.submit(decode_record(json.loads(text), BINDINGS))
                assert (stored.sequence, stored.duplicate) == (sequence, True)
            assert (await opened.journal.verify()).upto_sequence == length

    asyncio.run(send_again())
