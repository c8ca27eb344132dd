"""Whether money lies in a batch that is not settled, for operations that could lose it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.errors import TransactionConflict
from agent.store import unsettled
from tests.kit.store_records import OpenJournal, open_journal, sale, settlement

OTHER = {"provider": "acquirer-b", "mid": "M2", "tid": "T2"}


async def _found(folder: Path, *records: dict[str, Any]) -> str | None:
    async with open_journal(folder) as opened:
        for one in records:
            await opened.store(one)
        return await opened.journal.unsettled_batch()


def _after(record: dict[str, Any], state: str, **changes: Any) -> dict[str, Any]:
    return {**record, "state": state, **changes}


async def test_an_empty_journal_has_none(tmp_path: Path) -> None:
    assert await _found(tmp_path) is None


@pytest.mark.parametrize("state", ["approved", "voided", "refunded"])
async def test_money_that_moved_counts_until_its_batch_is_settled(state: str, tmp_path: Path) -> None:
    one = sale(batch_no="000007")
    steps = [one] if state == "approved" else [one, _after(one, state)]
    async with open_journal(tmp_path) as opened:
        for record in steps:
            await opened.store(record)
        assert await opened.journal.unsettled_batch() == "000007"
        await opened.store(settlement(batch_no="000007"))
        assert await opened.journal.unsettled_batch() is None


@pytest.mark.parametrize("state", ["created", "sent", "declined", "unknown", "cancelled", "reversing", "settled"])
async def test_what_moved_no_money_or_is_settled_by_itself_does_not_count(state: str, tmp_path: Path) -> None:
    assert await _found(tmp_path, sale(state=state)) is None


async def test_a_reversed_sale_does_not_count(tmp_path: Path) -> None:
    one = sale()
    assert await _found(tmp_path, one, _after(one, "reversing"), _after(one, "reversed")) is None


@pytest.mark.parametrize("kind", ["pre_auth", "balance_inquiry"])
async def test_what_no_settlement_settles_does_not_count(kind: str, tmp_path: Path) -> None:
    changes = {"amount_minor": None} if kind == "balance_inquiry" else {}
    assert await _found(tmp_path, sale(type=kind, **changes)) is None


async def test_without_a_batch_there_is_none_to_settle(tmp_path: Path) -> None:
    without = {"stan": None, "batch_no": None, "merchant_order_no": "order-1"}
    assert await _found(tmp_path, sale(type="qr_sale", **without)) is None


@pytest.mark.parametrize(
    "changes", [{"balanced": False}, {"state": "declined"}, {"batch_no": "000002"}, OTHER], ids=str
)
async def test_only_an_approved_balanced_settlement_of_that_batch_settles_it(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    assert await _found(tmp_path, sale(), settlement(**changes)) == "000001"


async def test_a_settlement_settles_what_was_recorded_before_it(tmp_path: Path) -> None:
    assert await _found(tmp_path, settlement(), sale()) == "000001"


async def test_a_settlement_that_was_reversed_settles_nothing(tmp_path: Path) -> None:
    made = settlement()
    assert await _found(tmp_path, sale(), made, _after(made, "reversing")) == "000001"


async def test_a_record_that_contradicts_another_does_not_count(tmp_path: Path) -> None:
    one = sale(state="declined", batch_no="000009")
    async with open_journal(tmp_path) as opened:
        await opened.store(one)
        with pytest.raises(TransactionConflict):
            await opened.store(_after(one, "declined", amount_minor=1))
        assert await opened.journal.unsettled_batch() is None


async def _many(opened: OpenJournal) -> None:
    for number in range(25):
        await opened.store(sale(batch_no=f"{number:06d}", stan=f"{number:06d}"))
        if number != 3:
            await opened.store(settlement(batch_no=f"{number:06d}"))


@pytest.mark.parametrize("piece", [1, 2, 7, 10_000])
async def test_an_old_unsettled_batch_is_found_in_pieces_of_any_size(
    piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsettled, "ENTRIES_PER_READ", piece)
    async with open_journal(tmp_path) as opened:
        await _many(opened)
        assert await opened.journal.unsettled_batch() == "000003"
        await opened.store(settlement(batch_no="000003"))
        assert await opened.journal.unsettled_batch() is None
