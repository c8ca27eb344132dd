"""Of any journal exactly that beginning leaves that may, worked out here from the records alone."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.contract.transaction import decode_record
from agent.store import retention
from agent.store.anchor import Anchor, anchor
from agent.store.retention import DAY_S
from agent.store.transactions import TransactionFilters
from agent.store.unsettled import unsettled
from tests.kit.kept_journal import KEEP_DAYS, Kept, kept
from tests.kit.store_records import BINDINGS, sale, settlement


async def _fill(at: Kept, rng: random.Random) -> None:
    """Some weeks of a terminal: lives of every kind, in several batches, most of them settled; a clock that is set."""
    open_lives: list[dict[str, Any]] = []
    for number in range(150):
        at.clock.advance(rng.choice((60.0, 3600.0, DAY_S / 2)))
        if rng.random() < 0.03:
            at.clock.set_wall(at.clock.now() + timedelta(days=rng.choice((-400, -1, 50, 4000))))
        if open_lives and rng.random() < 0.5:
            life = open_lives.pop(rng.randrange(len(open_lives)))
            record = {**life, "state": rng.choice(("approved", "declined", "unknown", "reversing"))}
        elif rng.random() < 0.12:
            record = settlement(batch_no=f"00000{rng.randrange(4)}", balanced=rng.random() < 0.8)
        else:
            record = sale(stan=f"{number:06d}", batch_no=f"00000{rng.randrange(4)}", state="sent")
            open_lives.append(record)
        await at.store.store(record)


def _must_stay(records: list[dict[str, Any]]) -> set[int]:
    """Sequences of what is unresolved or of an unsettled batch, worked out from the records alone."""
    latest: dict[str, int] = {record["transaction_id"]: sequence for sequence, record in enumerate(records, 1)}
    closings = [
        (sequence, record["batch_no"])
        for sequence, record in enumerate(records, 1)
        if record["type"] == "settlement" and record["balanced"]
    ]
    staying = set()
    for sequence, record in enumerate(records, 1):
        last = latest[record["transaction_id"]]
        state, batch = records[last - 1]["state"], records[last - 1]["batch_no"]
        if records[last - 1]["type"] == "settlement":
            continue
        is_open = state == "approved" and not any(one > last and number == batch for one, number in closings)
        if is_open or state in ("unknown", "reversing"):
            staying.add(sequence)
    return staying


def _passed_days(times: list[datetime], sequence: int) -> float:
    passed, is_set_back = [], False
    for step in [(later - earlier).total_seconds() / DAY_S for earlier, later in pairwise(times)]:
        leap = 0.0 if is_set_back else 31.0
        passed.append(leap if step > 31 else max(step, 0.0))
        is_set_back = step < 0 or (is_set_back and step <= 31)
    return sum(passed[sequence - 1 :])


@pytest.mark.parametrize("seed", range(5))
async def test_of_any_journal_exactly_the_beginning_leaves_that_may(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 7)
    rng = random.Random(seed)
    async with kept(tmp_path) as at:
        await _fill(at, rng)
        items = (await at.store.journal.list(TransactionFilters(), 1000)).items
        records = [item.record for item in items]
        times = [datetime.fromisoformat(item.at) for item in items]
        copied = rng.choice((len(records), rng.randrange(len(records))))
        await at.copied(copied)
        await at.remove_old()
        left = await at.sequences()
        staying = _must_stay(records)
        limit = 0
        for sequence in range(1, len(records) + 1):
            if sequence > copied or sequence in staying or _passed_days(times, sequence) < KEEP_DAYS:
                break
            limit = sequence
        assert left == list(range(limit + 1, len(records) + 1))
        verified = await at.store.journal.verify()
        assert (verified.intact, verified.upto_sequence) == (True, len(records))
        found = await at.store.database.read(anchor)
        assert found == Anchor(limit, bytes.fromhex(items[limit - 1].hash) if limit else found.hash)
        for record in records[limit:]:  # what is left is known as before
            stored = await at.store.journal.submit(decode_record(record, BINDINGS))
            assert (stored.sequence, stored.duplicate) == (records.index(record) + 1, True)
        piece = await at.store.database.read(lambda db: unsettled(db, None))
        assert (piece.batch_no is not None) == any(
            records[sequence - 1]["state"] == "approved" for sequence in staying if sequence > limit
        )
