"""Legitimate transaction records and an opened journal, for the tests of the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.contract.transaction import TransactionRecord, decode_record
from agent.runtime.clock import Clock, SystemClock
from agent.runtime.identifiers import uuid7
from agent.store.database import Database
from agent.store.transactions import TransactionJournal

BINDING = ("acquirer-a", "104290070110001", "10000001")
BINDINGS = frozenset({BINDING})


def sale(**changes: Any) -> dict[str, Any]:
    """An approved sale as parsed JSON, with a fresh id; a change to None takes the field out."""
    record: dict[str, Any] = {
        "transaction_id": uuid7(),
        "state": "approved",
        "type": "sale",
        "provider": BINDING[0],
        "mid": BINDING[1],
        "tid": BINDING[2],
        "amount_minor": 12800,
        "currency": "156",
        "stan": "000731",
        "batch_no": "000001",
        "local_at": "2026-11-21T10:00:00+08:00",
    }
    record.update(changes)
    return {name: value for name, value in record.items() if value is not None}


def settlement(**changes: Any) -> dict[str, Any]:
    """An approved, balanced settlement of batch 000001."""
    total = {"currency": "156", "debit_count": 1, "debit_minor": 12800, "credit_count": 0, "credit_minor": 0}
    fields: dict[str, Any] = {"type": "settlement", "totals": [total], "balanced": True}
    without = dict.fromkeys(("amount_minor", "currency", "stan"))
    return sale(**{**without, **fields, **changes})


def record(**changes: Any) -> TransactionRecord:
    """The decoded form of `sale`."""
    return decode_record(sale(**changes), BINDINGS)


@dataclass
class OpenJournal:
    """A journal on a real file, and the alarms it raised."""

    path: Path
    database: Database
    journal: TransactionJournal
    alarms: list[tuple[str, str]] = field(default_factory=list)

    async def store(self, params: dict[str, Any]) -> int:
        """Record and wait; returns the sequence."""
        return (await self.journal.submit(decode_record(params, BINDINGS))).sequence


@asynccontextmanager
async def open_journal(folder: Path, *, clock: Clock | None = None, max_group: int = 256) -> AsyncIterator[OpenJournal]:
    """Open (or create) ``folder/agent.db``; closed in order at the end."""
    used = clock or SystemClock()
    database = Database(folder / "agent.db", used, max_group=max_group)
    database.open()
    alarms: list[tuple[str, str]] = []

    def alarm(code: str, detail: str) -> None:
        alarms.append((code, detail))

    journal = TransactionJournal(database, used, bindings=BINDINGS, alarm=alarm)
    try:
        yield OpenJournal(folder / "agent.db", database, journal, alarms)
    finally:
        await database.close()
