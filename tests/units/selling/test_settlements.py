"""The totals of settlements against a real journal: what counts, what comes late, what a restart must not pass over."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from agent.contract.journal_views import EntryItem
from agent.errors import StoreUnavailable, TransactionConflict
from agent.selling.settlements import SettlementWatch
from agent.store import batch_checks, entry_rows, meta
from agent.store.batch_checks import FAULTS_AT_MOST, Batch
from agent.store.database import Worth
from agent.store.transactions import TransactionFilters
from tests.kit.manual_clock import ManualClock
from tests.kit.store_records import BINDING, OpenJournal, open_journal, sale, settlement

NOON, EVENING, NIGHT = (f"2026-11-21T{hour}:00:00+08:00" for hour in (12, 20, 23))
UNDER_WAY = (
    '{"files":[],"reason":"x","found_at":"x","journal_id":"x","parent":null,"base":2,"base_is_certain":true,'
    '"anchor":0,"anchor_hash":"","known_hashes":[],"below":3}'
)
DEVICE = "batch-000001-10000001"


def total(debits: tuple[int, int] = (0, 0), credit: tuple[int, int] = (0, 0), currency: str = "156") -> dict[str, Any]:
    return {
        "currency": currency,
        **{"debit_count": debits[0], "debit_minor": debits[1]},
        **{"credit_count": credit[0], "credit_minor": credit[1]},
    }


class Till:
    """A journal with the watch over its settlements, and the faults that stand."""

    def __init__(self, store: OpenJournal, faults: dict[str, str] | None = None) -> None:
        self.store = store
        self.faults: dict[str, str] = {} if faults is None else faults
        self.reports = 0
        self._stans = 0
        self.clock = ManualClock()
        self.watch = SettlementWatch(store.database, self.clock, self._report, active=lambda: self.faults)

    def _report(self, code: str, device: str, active: bool, detail: str) -> None:
        assert code == "TXN-BAT-002"
        self.reports += 1
        if not active:
            self.faults = {name: kept for name, kept in self.faults.items() if name != device}
        elif device not in self.faults:  # as health does: a fault that stands keeps its words
            self.faults = {**self.faults, device: detail}

    async def sell(self, amount: int = 100, **changes: Any) -> dict[str, Any]:
        self._stans += 1
        record = sale(amount_minor=amount, stan=f"{self._stans:06d}", local_at=NOON, **changes)
        await self.store.store(record)
        return record

    async def settle(self, *totals: dict[str, Any], **changes: Any) -> dict[str, Any]:
        record = settlement(**{"totals": list(totals), "local_at": EVENING, **changes})
        await self.store.store(record)
        return record

    async def differs(self) -> bool:
        await self.watch.look()
        return bool(self.faults)


@pytest.fixture
async def till(tmp_path: Path) -> Any:
    async with open_journal(tmp_path) as store:
        yield Till(store)


async def test_totals_that_agree_are_no_fault_and_others_name_batch_currency_and_both_figures(till: Till) -> None:
    await till.sell(100)
    await till.sell(250)
    await till.sell(7, currency="840")
    await till.settle(total((2, 350)), total((1, 7), currency="840"))
    assert not await till.differs()
    await till.sell(5, batch_no="000002")
    await till.settle(total((1, 6)), batch_no="000002")
    assert await till.differs()
    assert till.faults == {
        "batch-000002-10000001": "batch 000002 of terminal number 10000001, currency 156: "
        "journal debits 1 = 5, credits 0 = 0; settlement debits 1 = 6, credits 0 = 0"
    }


@pytest.mark.parametrize(
    ("kind", "state", "debits", "credit"),
    [
        *[(kind, "approved", 1, 0) for kind in ("sale", "completion", "offline_sale", "tip", "adjustment")],
        *[(kind, "approved", 0, 1) for kind in ("sale_void", "completion_void", "refund")],
        *[("sale", state, 1, 0) for state in ("voided", "refunded", "settled")],
        *[("sale", state, 0, 0) for state in ("created", "sent", "declined", "cancelled", "unknown")],
        *[("sale", state, 0, 0) for state in ("reversing", "reversed", "reversal_failed")],
        *[("refund", state, 0, 0) for state in ("declined", "unknown", "reversed")],
        *[(kind, "approved", 0, 0) for kind in ("pre_auth", "pre_auth_void", "qr_sale", "qr_refund", "sign_out")],
    ],
)
async def test_each_type_and_state_counts_on_its_side_or_not_at_all(
    till: Till, kind: str, state: str, debits: int, credit: int
) -> None:
    more: dict[str, Any] = {"original": {"stan": "000001"}} if kind not in ("sale", "completion") else {}
    await till.sell(40, type=kind, state=state, merchant_order_no="M1", **more)
    await till.settle(total((debits, debits * 40), (credit, credit * 40)))
    assert not await till.differs()
    await till.settle(total((debits + 1, debits * 40), (credit, credit * 40)), local_at=NIGHT)
    assert await till.differs()


@pytest.mark.parametrize("totals", [[], [total()], [total(currency="840")]])
async def test_a_currency_with_nothing_in_it_needs_no_line(till: Till, totals: list[dict[str, Any]]) -> None:
    await till.sell(state="declined")
    await till.settle(*totals)
    assert not await till.differs()


async def test_several_lines_of_a_currency_are_one(till: Till) -> None:
    await till.sell(10)
    await till.sell(20)
    await till.settle(total((1, 10)), total((1, 20)))
    assert not await till.differs()


async def test_a_content_that_contradicts_counts_neither_among_sales_nor_as_a_settlement(till: Till) -> None:
    sold = await till.sell(10)
    made = await till.settle(total((1, 10)))
    for contradiction in ({**sold, "amount_minor": 11}, {**made, "totals": [total((9, 9))]}):
        with pytest.raises(TransactionConflict):
            await till.store.store(contradiction)
    assert not await till.differs()


@pytest.mark.parametrize("state", ["declined", "sent", "unknown", "cancelled"])
async def test_only_an_approved_settlement_is_compared(till: Till, state: str) -> None:
    await till.sell()
    await till.settle(total((9, 9)), state=state)
    assert not await till.differs()


async def test_an_unbalanced_one_is_compared_too(till: Till) -> None:
    await till.sell(10)
    await till.settle(total((2, 20)), balanced=False)
    assert await till.differs()


async def test_what_comes_late_is_compared_again(till: Till) -> None:
    await till.sell(10)
    await till.settle(total((2, 30)))
    assert await till.differs()
    late = await till.sell(20)
    assert not await till.differs()
    await till.store.store({**late, "state": "reversing"})
    assert await till.differs()
    detail = dict(till.faults)
    await till.store.store({**late, "state": "reversal_failed"})
    assert await till.differs()
    assert till.faults == detail
    await till.store.store({**late, "state": "reversing", "attempt": 2})
    await till.store.store({**late, "state": "approved", "attempt": 2})
    assert not await till.differs()


async def test_other_figures_are_shown_as_they_are_now(till: Till) -> None:
    await till.settle(total((3, 30)))
    assert await till.differs()
    await till.sell(10)
    assert await till.differs()
    assert "journal debits 1 = 10," in till.faults[DEVICE]


async def test_a_sale_after_the_settlement_under_the_same_number_is_of_another_batch(till: Till) -> None:
    await till.sell(10)
    await till.settle(total((1, 10)))
    await till.store.store(sale(amount_minor=20, stan="000900", local_at=NIGHT))
    assert not await till.differs()
    await till.settle(total((1, 20)), local_at="2026-11-22T20:00:00+08:00")
    assert not await till.differs()
    await till.sell(30)  # late for the first one
    assert not await till.differs()


async def test_a_settlement_made_again_for_the_whole_batch_ends_the_fault(till: Till) -> None:
    await till.sell(10)
    await till.sell(20)
    await till.settle(total((1, 10)))
    assert await till.differs()
    await till.settle(total((2, 30)), local_at=NIGHT)
    assert not await till.differs()


async def test_a_settlement_that_was_reversed_differs_from_nothing(till: Till) -> None:
    await till.sell(10)
    made = await till.settle(total((9, 9)))
    assert await till.differs()
    await till.store.store({**made, "state": "reversing"})
    assert not await till.differs()


async def test_each_terminal_number_has_its_own_batches(till: Till) -> None:
    await till.sell(10)
    await till.sell(30, tid="10000002")
    await till.settle(total((1, 30)), tid="10000002")
    assert not await till.differs()
    await till.settle(total((2, 40)))
    assert await till.differs()
    assert list(till.faults) == [DEVICE]


async def test_a_few_batches_at_most_are_shown_the_latest(till: Till) -> None:
    for number in range(FAULTS_AT_MOST + 3):
        await till.settle(total((1, 1)), batch_no=f"{number:06d}")
        await till.watch.look()
    assert sorted(till.faults) == [f"batch-{number:06d}-10000001" for number in range(3, FAULTS_AT_MOST + 3)]


# ── crashes and restarts ───────────────────────────────────────────────────────────────────────────────────────────
async def test_a_crash_between_the_record_and_its_comparison_passes_nothing_over(tmp_path: Path) -> None:
    faults: dict[str, str] = {}
    late: dict[str, Any] = {}
    for step in range(4):  # each life of the agent ends before it has looked, and the next one looks first
        async with open_journal(tmp_path) as store:
            till = Till(store, faults)
            till._stans = step * 10
            if step:
                assert await till.differs() == (step in (1, 3))
            faults = till.faults
            match step:
                case 0:
                    await till.sell(10)
                    await till.settle(total((2, 30)))
                case 1:
                    late = await till.sell(20)
                case 2:
                    await till.store.store({**late, "state": "reversing"})
    async with open_journal(tmp_path) as store:  # nothing new: nothing is compared, and the fault stands
        till = Till(store, faults)
        written = store.database.metrics().commits
        assert await till.differs()
        assert store.database.metrics().commits == written


async def test_while_entries_come_back_nothing_is_compared_and_then_everything_is(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as store:
        till = Till(store)
        await till.sell(10)
        await till.settle(total((2, 30)))
        assert await till.differs()
        items = (await store.journal.list(TransactionFilters(), 10)).items
    back = sale(amount_minor=20, stan="000900", local_at=NOON)
    async with open_journal(tmp_path) as store:
        till = Till(store, till.faults)
        await store.database.write(lambda db: meta.put(db, "rebuild", UNDER_WAY), worth=Worth.RUN)
        with pytest.raises(StoreUnavailable):
            await till.watch.look()
        item = EntryItem(90, items[0].at, back, items[0].hash)
        await store.database.write(lambda db: entry_rows.put_back(db, [item]), worth=Worth.OUTBOX)
        await store.database.write(lambda db: db.execute("DELETE FROM meta WHERE name = 'rebuild'"), worth=Worth.RUN)
        assert not await till.differs()


async def test_a_fault_whose_batch_is_gone_is_over(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as store:
        till = Till(store, {"batch-000099-10000001": "of before a restore"})
        assert not await till.differs()


async def test_what_retention_has_taken_some_of_is_not_compared_again(till: Till) -> None:
    await till.sell(10)
    await till.sell(20)
    await till.settle(total((2, 30)))
    assert not await till.differs()
    batch = Batch("/".join(BINDING), "000001")

    def remove(upto: int) -> Any:
        def job(db: Any) -> None:
            db.execute("DELETE FROM entries WHERE sequence <= ?", (upto,))
            batch_checks.forget_removed(db, upto, [batch])

        return job

    await till.store.database.write(remove(1), worth=Worth.OUTBOX)
    late = await till.sell(5)
    assert not await till.differs()
    await till.store.database.write(remove(3), worth=Worth.OUTBOX)
    assert await till.store.database.read(lambda db: batch_checks.check_of(db, batch)) is None
    await till.store.store({**late, "state": "voided"})
    assert not await till.differs()


async def test_it_looks_when_records_come_and_sleeps_otherwise(till: Till) -> None:
    task = asyncio.create_task(till.watch.run())

    async def until(holds: Any) -> None:
        async with asyncio.timeout(20):
            while not holds():
                till.clock.advance(0.5)
                await asyncio.sleep(0.002)

    await till.sell(10)
    await till.settle(total((1, 11)))
    await until(lambda: till.faults)
    await till.settle(total((1, 10)), local_at=NIGHT)
    await until(lambda: not till.faults)
    async with asyncio.timeout(20):
        while till.clock.sleeping:
            till.clock.advance(1.0)
            await asyncio.sleep(0.002)
    task.cancel()
    await asyncio.wait([task])


async def test_a_store_that_cannot_write_is_asked_again(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    await till.settle(total((1, 11)))
    write = till.store.database.write

    async def fail(_job: Any, *, worth: Worth) -> None:
        raise StoreUnavailable("no", hint="no")

    monkeypatch.setattr(till.store.database, "write", fail)
    task = asyncio.create_task(till.watch.run())
    async with asyncio.timeout(20):
        while not till.clock.sleeping:
            await asyncio.sleep(0.002)
        assert not till.faults
        monkeypatch.setattr(till.store.database, "write", write)
        while not till.faults:
            till.clock.advance(30.0)
            await asyncio.sleep(0.002)
    task.cancel()
    await asyncio.wait([task])


# ── against another way of adding up ───────────────────────────────────────────────────────────────────────────────
def _expected(stored: list[dict[str, Any]]) -> dict[str, list[int]]:
    """From all accepted records in order: what the settlement's totals must be, per currency."""
    latest = {record["transaction_id"]: record for record in stored}
    sums: dict[str, list[int]] = {}
    for record in latest.values():
        side = {"sale": 0, "completion": 0, "tip": 0, "sale_void": 2, "refund": 2}.get(record["type"])
        if side is not None and record["state"] in {"approved", "voided", "refunded", "settled"}:
            line = sums.setdefault(record["currency"], [0, 0, 0, 0])
            line[side] += 1
            line[side + 1] += record["amount_minor"]
    return sums


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("piece", [3, 5000])
async def test_any_order_of_records_leads_to_the_totals_of_their_last_states(
    tmp_path: Path, seed: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_checks, "ENTRIES_PER_READ", piece)
    rng = random.Random(seed)
    records: list[list[dict[str, Any]]] = []
    for number in range(40):
        kind = rng.choice(("sale", "sale", "completion", "tip", "sale_void", "refund", "pre_auth"))
        more = {"original": {"stan": "000001"}} if kind in ("tip", "sale_void", "refund") else {}
        one = sale(
            **{"type": kind, "stan": f"{number:06d}", "amount_minor": rng.randrange(1000), "local_at": NOON, **more},
            **{"currency": rng.choice(("156", "156", "840"))},
        )
        life = rng.choice(
            (["approved"], ["sent", "approved"], ["sent", "unknown", "reversing", "reversed"], ["sent", "declined"])
        )
        life = [*life, "voided"] if life[-1] == "approved" and rng.random() < 0.2 else life
        records.append([{**one, "state": state} for state in life])
    order = [number for number, life in enumerate(records) for _ in life]
    rng.shuffle(order)
    stored: list[dict[str, Any]] = []
    settle_at = rng.randrange(len(order))
    final = _expected([record for life in records for record in life])
    lines = [total((line[0], line[1]), (line[2], line[3]), currency) for currency, line in final.items()]
    async with open_journal(tmp_path) as store:
        till = Till(store)
        for place, number in enumerate(order):
            if place == settle_at:
                await till.settle(*lines)
            record = records[number].pop(0)
            await store.store(record)
            stored.append(record)
            if place >= settle_at and rng.random() < 0.2:
                assert await till.differs() == (_expected(stored) != final)
        assert not await till.differs()
