"""A journal with a long past, made at once: for tests and measurements of what a backlog costs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from agent.contract.canonical_json import canonical_checked
from agent.contract.journal_views import EntryItem
from agent.runtime.clock import SystemClock, rfc3339
from agent.store import chain, meta
from agent.store.database import Database, Worth
from agent.store.entry_rows import put_back
from tests.kit.contract_peer import sale

AT_ONCE = 5_000


async def fill(state: Path, count: int) -> None:
    """Create ``state/agent.db`` with so many sales, as an agent that does not run would have left it."""
    await asyncio.to_thread(state.mkdir, parents=True, exist_ok=True)
    database = Database(state / "agent.db", SystemClock())
    database.open()
    try:
        journal_id = await database.read(meta.journal_id)
        entries = _entries(journal_id, count)
        while part := list(islice(entries, AT_ONCE)):
            await database.write(lambda db, part=part: put_back(db, part), worth=Worth.AUDIT)  # type: ignore[misc]
    finally:
        await database.close()


def _entries(journal_id: str, count: int) -> Iterator[EntryItem]:
    link, at = chain.genesis(journal_id), rfc3339(datetime.now(UTC))
    for sequence in range(1, count + 1):
        record = sale(stan=f"{sequence % 1_000_000:06d}", batch_no=f"{sequence // 1000 % 1_000_000:06d}")
        link = chain.link(link, sequence, chain.record_digest(canonical_checked(record)))
        yield EntryItem(sequence, at, record, link.hex())
