"""Records in any order, in groups of any size, over restarts: what is answered is what is in the journal.

The rules are written down here once more, from the contract's words, and not taken from the product.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from agent.contract.journal_views import EntryItem
from agent.contract.transaction import decode_record
from agent.errors import InvalidTransition, TransactionConflict
from agent.store.transactions import TransactionFilters
from tests.kit.manual_clock import ManualClock
from tests.kit.store_records import BINDINGS, OpenJournal, open_journal, sale, settlement

Record = dict[str, Any]
FOLLOWS = {
    "created": {"sent", "approved", "cancelled"},
    "sent": {"approved", "declined", "unknown", "cancelled", "reversing"},
    "unknown": {"approved", "declined", "reversing", "cancelled"},
    "approved": {"voided", "refunded", "settled", "reversing"},
    "reversing": {"reversed", "reversal_failed", "approved"},
    "reversal_failed": {"reversing", "reversed"},
    "voided": {"settled"},
    "refunded": {"settled"},
    "settled": {"refunded"},
    "declined": set(),
    "cancelled": set(),
    "reversed": set(),
}
REPEATING = {"reversing", "reversal_failed"}


def _reachable(state: str) -> set[str]:
    found: set[str] = set()
    waiting = [state]
    while waiting:
        fresh = FOLLOWS[waiting.pop()] - found
        found |= fresh
        waiting += fresh
    return found


def _records(rng: random.Random, count: int) -> list[Record]:
    """Few transactions, few STANs, few contents: so that they repeat, contradict and double each other often."""
    known = [sale(stan=f"00000{rng.randrange(4)}", batch_no=f"00000{rng.randrange(2)}") for _ in range(12)]
    made: list[Record] = []
    for _ in range(count):
        if made and rng.random() < 0.25:
            made.append(rng.choice(made))
            continue
        if rng.random() < 0.05:
            made.append(settlement(batch_no=f"00000{rng.randrange(2)}"))
            continue
        record = {**rng.choice(known), "state": rng.choice(list(FOLLOWS))}
        if rng.random() < 0.15:
            record["amount_minor"] = rng.choice((1, 2))
        if rng.random() < 0.3:
            record["attempt"] = rng.choice((1, 2, 3))
        made.append(record)
    return made


def _same(one: Record, other: Record) -> bool:
    """Equal fields; a missing attempt is 1."""
    return {"attempt": 1, **one} == {"attempt": 1, **other}


async def _all(opened: OpenJournal) -> list[EntryItem]:
    items: list[EntryItem] = []
    cursor: str | None = None
    while True:
        page = await opened.journal.list(TransactionFilters(), 100, cursor)
        items += page.items
        cursor = page.next_cursor
        if cursor is None:
            return items


async def _hand_over(folder: Path, records: list[Record], rng: random.Random | None) -> tuple[list[Any], list[Any]]:
    """What each was answered, and the entries at the end; with ``rng`` in bursts and over restarts, else one by one."""
    answers: list[Any] = []
    waiting = list(records)
    alarms: list[tuple[str, str]] = []
    while True:
        async with open_journal(folder, max_group=rng.choice((1, 3, 256)) if rng else 1, clock=ManualClock()) as opened:
            life = rng.randrange(1, 60) if rng else len(waiting)
            while waiting and life > 0:
                burst = rng.randrange(1, 20) if rng else 1
                now, waiting = waiting[:burst], waiting[burst:]
                futures = [opened.journal.submit(decode_record(record, BINDINGS)) for record in now]
                answers += await asyncio.gather(*futures, return_exceptions=True)
                life -= burst
            await asyncio.sleep(0)
            alarms += opened.alarms
            if not waiting:
                entries = await _all(opened)
                verified = await opened.journal.verify()
                assert (verified.intact, verified.upto_sequence) == (True, len(entries))
                conflicts = sum(1 for one in entries if one.mark and one.mark.conflict_with)
                assert [code for code, _ in alarms].count("TXN-CON-001") == conflicts
                return answers, entries


def _check_answer(record: Record, answer: Any, entries: list[EntryItem], seen: dict[int, int]) -> None:
    """``seen``: how often each sequence was answered before."""
    if isinstance(answer, InvalidTransition):
        return
    if isinstance(answer, TransactionConflict):
        entry = entries[int(str(answer.facts["sequence"])) - 1]
        assert entry.mark is not None
        assert entry.mark.conflict_with is not None
        disputed = entries[entry.mark.conflict_with - 1]
        assert disputed.mark is None or disputed.mark.conflict_with is None
        assert disputed.record["state"] == entry.record["state"]
        assert disputed.record["transaction_id"] == entry.record["transaction_id"]
        assert not _same(disputed.record, entry.record)
    else:
        entry = entries[answer.sequence - 1]
        assert entry.mark is None or entry.mark.conflict_with is None
        assert answer.duplicate == (answer.sequence in seen)
    assert _same(entry.record, record)
    assert entry.seq in seen or entry.record == record  # the first one as it was received
    seen[entry.seq] = seen.get(entry.seq, 0) + 1


def _check_lives(entries: list[EntryItem]) -> None:
    """What was accepted of each transaction follows the table; natural keys name their first owner."""
    last: dict[str, str] = {}
    owners: dict[tuple[Any, ...], str] = {}
    for entry in entries:
        if entry.mark is not None and entry.mark.conflict_with is not None:
            continue
        record = entry.record
        identifier, state = record["transaction_id"], record["state"]
        if identifier in last:
            assert state in (_reachable(last[identifier]) | (REPEATING & {last[identifier]}))
        last[identifier] = state
        if "stan" in record:
            key = (record["tid"], record["batch_no"], record["stan"], record["local_at"][:10])
            owner = owners.setdefault(key, identifier)
            assert (entry.mark.duplicate_of if entry.mark else None) == (owner if owner != identifier else None)


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_answered_is_what_is_in_the_journal(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    records = _records(rng, 300)
    answers, entries = await _hand_over(tmp_path, records, rng)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    seen: dict[int, int] = {}
    for record, answer in zip(records, answers, strict=True):
        _check_answer(record, answer, entries, seen)
    assert sorted(seen) == [entry.seq for entry in entries]  # nothing is there that nobody was told of
    _check_lives(entries)
    refused = [record for record, answer in zip(records, answers, strict=True) if isinstance(answer, InvalidTransition)]
    assert refused
    kinds = {type(answer).__name__ for answer in answers}
    assert kinds == {"Stored", "InvalidTransition", "TransactionConflict"}


@pytest.mark.parametrize("seed", range(3))
async def test_the_size_of_groups_and_restarts_change_nothing(tmp_path: Path, seed: int) -> None:
    records = _records(random.Random(seed), 200)
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    alone, entries_alone = await _hand_over(tmp_path / "one", records, None)
    together, entries_together = await _hand_over(tmp_path / "many", records, random.Random(seed))
    assert [str(answer) for answer in alone] == [str(answer) for answer in together]
    assert [(one.record, one.mark) for one in entries_alone] == [(one.record, one.mark) for one in entries_together]


async def test_late_evidence_for_a_settled_batch_is_taken_in_every_state_and_judged_as_ever(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        sold = sale()
        await opened.store(sold)
        await opened.store(settlement())
        view = await opened.journal.get(sold["transaction_id"])
        assert view is not None
        assert view.current["state"] == "settled"
        late = {state: sale(stan=f"1{number:05d}", state=state) for number, state in enumerate(FOLLOWS)}
        for number, record in enumerate(late.values(), 3):
            assert await opened.store(record) == number
        for state, record in late.items():
            view = await opened.journal.get(record["transaction_id"])
            assert view is not None
            assert view.current["state"] == state  # that settlement was for the records before it
        with pytest.raises(TransactionConflict):
            await opened.store({**sold, "amount_minor": 1})
        with pytest.raises(InvalidTransition):
            await opened.store({**sold, "state": "declined"})
        assert await opened.store({**sold, "state": "reversing"}) == 3 + len(late) + 1


async def test_a_conflict_that_a_crash_kept_from_being_alarmed_is_alarmed_at_the_next_start(tmp_path: Path) -> None:
    clock = ManualClock()
    one = sale()
    async with open_journal(tmp_path, clock=clock) as opened:
        await opened.journal.recall_conflict(within_s=1000.0)
        await opened.store(one)
        with pytest.raises(TransactionConflict):
            await opened.store({**one, "amount_minor": 1})
    for passed_s, expected in ((500.0, ["TXN-CON-001"]), (501.0, [])):
        clock.advance(passed_s)
        async with open_journal(tmp_path, clock=clock) as opened:
            await opened.journal.recall_conflict(within_s=1000.0)
            assert [code for code, _ in opened.alarms] == expected
            with pytest.raises(TransactionConflict):  # its repeat stores nothing, so it alarms nothing either
                await opened.store({**one, "amount_minor": 1})
            assert [code for code, _ in opened.alarms] == expected
