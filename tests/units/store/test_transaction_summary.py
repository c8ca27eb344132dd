"""Summaries over many batches: every line once, whatever the size of the pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.contract.journal_views import SummaryItem
from agent.errors import BadRequest
from agent.store.transactions import TransactionFilters
from tests.kit.store_records import OpenJournal, open_journal, sale

ALL = TransactionFilters()


async def pages(opened: OpenJournal, limit: int) -> list[SummaryItem]:
    items: list[SummaryItem] = []
    cursor: str | None = None
    while True:
        page = await opened.journal.summary(ALL, limit, cursor)
        assert len(page.items) <= limit
        items += page.items
        cursor = page.next_cursor
        if cursor is None:
            return items
        assert len(page.items) == limit  # a page that is not the last is full


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 19, 20, 21, 1000])
async def test_every_line_comes_once_in_pages_of_any_size(tmp_path: Path, limit: int) -> None:
    async with open_journal(tmp_path) as opened:
        for batch in range(45):
            for number in range(batch % 3 + 1):  # one to three currencies a batch
                currency = ("156", "344", "840")[number]
                await opened.store(sale(batch_no=f"{batch * 7:06d}", stan=f"{number:06d}", currency=currency))
        without = dict.fromkeys(("batch_no", "stan"))
        for kind in ("qr_sale", "qr_refund"):
            more = {"original": {"merchant_order_no": "M1"}} if kind == "qr_refund" else {}
            await opened.store(sale(**without, type=kind, merchant_order_no="M1", **more))
        items = await pages(opened, limit)
        keys = [(item.batch_no, item.currency, item.type) for item in items]
        assert len(keys) == len(set(keys)) == 15 * (1 + 2 + 3) + 2
        assert {item.count for item in items} == {1}


async def test_a_transaction_counts_where_it_stands_now_only(tmp_path: Path) -> None:
    params = sale(state="approved", batch_no="000001")
    async with open_journal(tmp_path) as opened:
        await opened.store(params)
        await opened.store({**params, "state": "voided", "batch_no": "000002"})
        items = await pages(opened, 10)
        assert [(item.batch_no, item.count) for item in items] == [("000002", 1)]


async def test_an_empty_journal_has_an_empty_summary(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        assert await pages(opened, 10) == []
        for cursor in ("x", "1", "000001.", "' OR 1.0", "000001.9999999"):
            with pytest.raises(BadRequest):
                await opened.journal.summary(ALL, 10, cursor)
