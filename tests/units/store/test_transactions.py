"""The transaction journal on a real file: places, duplicates, conflicts, twins, computed states, lists, the chain."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agent.contract.transaction import decode_record
from agent.errors import BadRequest, InvalidTransition, TransactionConflict
from agent.runtime.identifiers import uuid7
from agent.store.transactions import TransactionFilters
from tests.kit.store_records import BINDINGS, OpenJournal, open_journal, record, sale, settlement

ALL = TransactionFilters()


async def conflict(opened: OpenJournal, params: dict[str, Any]) -> int:
    with pytest.raises(TransactionConflict) as caught:
        await opened.store(params)
    return int(str(caught.value.facts["sequence"]))


async def current(opened: OpenJournal, transaction_id: str) -> dict[str, Any]:
    view = await opened.journal.get(transaction_id)
    assert view is not None
    return view.current


async def test_sequences_begin_at_one_without_holes_across_starts(tmp_path: Path) -> None:
    for start in range(3):
        async with open_journal(tmp_path) as opened:
            futures = [opened.journal.submit(record(stan=f"{start}{n:05d}")) for n in range(40)]
            sequences = [(await future).sequence for future in futures]
            assert sequences == list(range(start * 40 + 1, start * 40 + 41))
            assert (await opened.journal.verify()).upto_sequence == start * 40 + 40


async def test_a_stranger_recomputes_the_chain_from_what_was_sent(tmp_path: Path) -> None:
    sent = [sale(stan=f"{n:06d}", memo="茶 \u2028", attempt=1) for n in range(5)]
    async with open_journal(tmp_path) as opened:
        for params in sent:
            await opened.store(params)
        items = (await opened.journal.list(ALL, 100)).items
    with sqlite3.connect(tmp_path / "agent.db") as db:
        (journal_id,) = db.execute("SELECT value FROM meta WHERE name = 'journal_id'").fetchone()
    db.close()
    last = hashlib.sha256(bytes(32) + journal_id.encode()).digest()
    for sequence, (params, item) in enumerate(zip(sent, items, strict=True), 1):
        text = json.dumps(params, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        last = hashlib.sha256(last + sequence.to_bytes(8, "big") + hashlib.sha256(text.encode()).digest()).digest()
        assert (item.seq, item.hash, item.record, item.mark) == (sequence, last.hex(), params, None)


async def test_the_same_entry_again_answers_its_first_place_also_after_a_restart(tmp_path: Path) -> None:
    first, second = sale(), sale(stan="000732")
    async with open_journal(tmp_path) as opened:
        futures = [opened.journal.submit(decode_record(params, BINDINGS)) for params in (first, second, first, first)]
        assert [(s.sequence, s.duplicate) for s in await asyncio.gather(*futures)] == [
            *((1, False), (2, False), (1, True), (1, True))
        ]
    async with open_journal(tmp_path) as opened:
        stored = await opened.journal.submit(decode_record({**first, "attempt": 1}, BINDINGS))  # none is 1
        assert (stored.sequence, stored.duplicate) == (1, True)
        assert len((await opened.journal.list(ALL, 100)).items) == 2


async def test_a_conflict_is_stored_marked_alarmed_and_its_repeat_changes_nothing(tmp_path: Path) -> None:
    params = sale()
    async with open_journal(tmp_path) as opened:
        await opened.store(params)
        assert await conflict(opened, {**params, "amount_minor": 1}) == 2
        assert await conflict(opened, {**params, "amount_minor": 1}) == 2
        assert await conflict(opened, {**params, "amount_minor": 2}) == 3
        view = await opened.journal.get(params["transaction_id"])
        assert view is not None
        assert view.current["amount_minor"] == 12800
        assert [item.mark and item.mark.conflict_with for item in view.history] == [None, 1, 1]
        assert [code for code, _detail in opened.alarms] == ["TXN-CON-001"] * 2
        assert (await opened.journal.verify()).intact
        assert [(item.count, item.sum_minor) for item in (await opened.journal.summary(ALL, 10)).items] == [(1, 12800)]


async def test_the_conflict_rule_goes_before_the_transition_rule(tmp_path: Path) -> None:
    params = sale(state="sent")
    async with open_journal(tmp_path) as opened:
        await opened.store(params)
        await opened.store({**params, "state": "approved"})
        assert await conflict(opened, {**params, "amount_minor": 1}) == 3
        with pytest.raises(InvalidTransition):
            await opened.store({**params, "state": "created"})
        assert len((await opened.journal.list(ALL, 100)).items) == 3
        await opened.store({**params, "state": "reversing"})
        await opened.store({**params, "state": "reversing", "attempt": 2})
        await opened.store({**params, "state": "approved", "attempt": 2})
        assert (await current(opened, params["transaction_id"]))["attempt"] == 2


async def test_one_group_may_hold_a_whole_life_and_refusals_harm_nobody(tmp_path: Path) -> None:
    params = sale()
    lives = [{**params, "state": state} for state in ("created", "sent", "declined", "approved", "declined")]
    async with open_journal(tmp_path) as opened:
        futures = [opened.journal.submit(decode_record(each, BINDINGS)) for each in [*lives, sale(stan="000001")]]
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        assert isinstance(outcomes[3], InvalidTransition)
        stored = [(s.sequence, s.duplicate) for s in outcomes if not isinstance(s, BaseException)]
        assert stored == [(1, False), (2, False), (3, False), (3, True), (4, False)]
        assert opened.database.metrics().failed_groups == 0


async def test_the_same_natural_key_under_another_id_is_stored_as_a_suspected_twin(tmp_path: Path) -> None:
    first, twin = sale(), sale()
    others = [
        sale(stan="000732"),
        sale(batch_no="000002"),
        sale(mti="0400"),
        sale(local_at="2026-11-22T00:00:00+08:00"),
    ]
    async with open_journal(tmp_path) as opened:
        futures = [opened.journal.submit(decode_record(each, BINDINGS)) for each in (first, twin, *others)]
        marks = [stored.duplicate_of for stored in await asyncio.gather(*futures)]
        assert marks == [None, first["transaction_id"], None, None, None, None]
        await opened.store({**first, "state": "voided"})
        third = sale(mti="0200")
        await opened.store(third)
        view = await opened.journal.get(third["transaction_id"])
        assert view is not None
        assert [item.mark and item.mark.duplicate_of for item in view.history] == [first["transaction_id"]]
        view = await opened.journal.get(first["transaction_id"])
        assert view is not None
        assert [item.mark for item in view.history] == [None, None]


async def test_an_unknown_binding_is_stored_and_alarmed(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        assert await opened.store(sale(tid="20000002")) == 1
        assert [code for code, _detail in opened.alarms] == ["SEC-BND-001"]


async def test_get_tells_the_copies_and_nothing_of_what_is_not_here(tmp_path: Path) -> None:
    params = sale()
    async with open_journal(tmp_path) as opened:
        await opened.store(params)
        view = await opened.journal.get(params["transaction_id"])
        assert view is not None
        assert (view.copies.local, view.copies.backup, view.copies.collector) == (True, False, False)
        assert view.current == {**params, "refunded_minor": 0}
        assert await opened.journal.get(uuid7()) is None


@pytest.mark.parametrize("by", ["transaction_id", "provider_txn_no", "merchant_order_no", "rrn", "stan"])
async def test_refunds_move_their_original_on_reading_and_write_nothing(tmp_path: Path, by: str) -> None:
    original = sale(provider_txn_no="P1", merchant_order_no="M1", rrn="612345678901")
    reference = {by: original[by]} if by != "stan" else {"stan": "000731", "batch_no": "000001", "date": "1121"}
    async with open_journal(tmp_path) as opened:
        await opened.store(original)
        declined = sale(type="refund", stan="000732", amount_minor=5, original=reference, state="declined")
        await opened.store(declined)
        assert (await current(opened, original["transaction_id"]))["refunded_minor"] == 0
        for number in (1, 2):
            refund = sale(type="refund", stan=f"00080{number}", amount_minor=100 * number, original=reference)
            await opened.store({**refund, "state": "sent"})
            await opened.store(refund)
        shown = await current(opened, original["transaction_id"])
        assert (shown["state"], shown["refunded_minor"]) == ("refunded", 300)
        assert len((await opened.journal.list(ALL, 100)).items) == 6
        other = sale(type="refund", stan="000900", original={"stan": "000731", "batch_no": "000001", "date": "1120"})
        await opened.store(other)  # of another day
        assert (await current(opened, original["transaction_id"]))["refunded_minor"] == 300


async def test_a_balanced_settlement_settles_its_batch_for_the_records_before_it(tmp_path: Path) -> None:
    before, late, elsewhere = sale(), sale(stan="000732"), sale(stan="000733", batch_no="000002")
    pre_auth, voided = sale(stan="000734", type="pre_auth"), sale(stan="000735", state="voided")
    async with open_journal(tmp_path) as opened:
        for params in (before, elsewhere, pre_auth, voided):
            await opened.store(params)
        await opened.store(settlement(balanced=False))
        await opened.store(settlement(state="declined"))
        await opened.store(settlement(tid="10000002"))
        assert (await current(opened, before["transaction_id"]))["state"] == "approved"
        await opened.store(settlement())
        assert await opened.store(late) == 9  # late evidence is taken
        states = [
            (await current(opened, each["transaction_id"]))["state"]
            for each in (before, late, elsewhere, pre_auth, voided)
        ]
        assert states == ["settled", "approved", "approved", "approved", "settled"]
        refund = sale(
            type="refund", stan="000740", batch_no="000002", original={"transaction_id": before["transaction_id"]}
        )
        await opened.store(refund)
        assert (await current(opened, before["transaction_id"]))["state"] == "refunded"
        await opened.store({**before, "state": "reversing"})  # what the terminal really did is evidence too
        assert (await current(opened, before["transaction_id"]))["state"] == "reversing"


async def test_lists_are_paged_in_both_directions_and_filtered(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        for number in range(25):
            await opened.store(sale(stan=f"{number:06d}", batch_no=f"00000{number % 2}"))
        for newest_first in (False, True):
            filters = TransactionFilters(batch_no="000001", newest_first=newest_first)
            seen: list[int] = []
            cursor: str | None = None
            while True:
                page = await opened.journal.list(filters, 5, cursor)
                seen += [item.seq for item in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert seen == sorted(range(2, 26, 2), reverse=newest_first)
        found = await opened.journal.list(TransactionFilters(stan="000007", provider="acquirer-a", type="sale"), 10)
        assert [item.seq for item in found.items] == [8]
        assert not (await opened.journal.list(TransactionFilters(tid="x"), 10)).items


@pytest.mark.parametrize(
    ("limit", "cursor", "field"), [(0, None, "limit"), (1001, None, "limit"), (5, "' OR 1", "cursor")]
)
async def test_a_wrong_page_is_refused(tmp_path: Path, limit: int, cursor: str | None, field: str) -> None:
    async with open_journal(tmp_path) as opened:
        for ask in (opened.journal.list, opened.journal.summary):
            with pytest.raises(BadRequest) as caught:
                await ask(ALL, limit, cursor)
            assert caught.value.field == field


async def test_a_summary_counts_current_money_by_batch_currency_and_type(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        for number in range(3):
            params = sale(stan=f"{number:06d}", amount_minor=100, state="sent")
            await opened.store(params)
            await opened.store({**params, "state": "approved"})
        reversed_one = sale(stan="000010", amount_minor=7)
        await opened.store(reversed_one)
        await opened.store({**reversed_one, "state": "reversed"})
        await opened.store(sale(stan="000011", currency="840", amount_minor=5))
        await opened.store(sale(stan="000012", state="declined"))
        await opened.store(
            sale(stan="000013", type="refund", amount_minor=9, original={"stan": "000001"}, batch_no="000002")
        )
        first = await opened.journal.summary(ALL, 2)
        rest = await opened.journal.summary(ALL, 2, first.next_cursor)
        lines = [(i.batch_no, i.currency, i.type, i.count, i.sum_minor) for i in first.items + rest.items]
        assert lines == [
            ("000001", "156", "sale", 3, 300),
            ("000001", "840", "sale", 1, 5),
            ("000002", "156", "refund", 1, 9),
        ]
        assert rest.next_cursor is None
        assert len((await opened.journal.summary(TransactionFilters(batch_no="000002"), 10)).items) == 1


@pytest.mark.parametrize(
    ("damage", "upto", "missing"),
    [
        ("UPDATE entries SET record = replace(record, '12800', '12801') WHERE sequence = 3", 2, []),
        ("UPDATE entries SET hash = zeroblob(32) WHERE sequence = 1", 0, []),
        ("DELETE FROM entries WHERE sequence IN (4, 5)", 3, [4, 5]),
        ("UPDATE meta SET value = '0192f6d0-7c1e-7000-8000-000000000009' WHERE name = 'journal_id'", 0, []),
    ],
)
async def test_verify_finds_what_was_changed_behind_our_back(
    tmp_path: Path, damage: str, upto: int, missing: list[int]
) -> None:
    async with open_journal(tmp_path) as opened:
        for number in range(8):
            await opened.store(sale(stan=f"{number:06d}"))
    with sqlite3.connect(tmp_path / "agent.db") as db:
        db.execute(damage)
    db.close()
    async with open_journal(tmp_path) as opened:
        found = await opened.journal.verify()
        assert (found.intact, found.upto_sequence, found.missing) == (False, upto, missing)
        assert [code for code, _detail in opened.alarms] == ["TXN-JRN-002"]
