"""An increment of 0.1 % of a million entries beside a full copy, and what recording feels of either.

Both by the agent's own sealing child, whole: process started, entries read, tried, compressed, encrypted, synced, read
back. A raw copy by SQLite (``VACUUM INTO``, its backup API, with an fsync) is told beside: it is neither encrypted nor
tried, and holds a read transaction all the while. Meanwhile records come in at a steady rate; what each of them waits
is held against the time when nothing else happens.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.backup.age import present
from agent.backup.job import CHILD, FolderPlace, Origin, Result, Seal, Sealed
from agent.contract.backup_views import BackupKind
from agent.runtime.child_process import run_child
from agent.runtime.clock import SystemClock, rfc3339
from agent.runtime.identifiers import uuid7
from agent.store.database import Database
from agent.store.transactions import TransactionJournal
from tests.bench import big_journal
from tests.bench.row import Row
from tests.kit.store_records import BINDINGS, record

ENTRIES, NEW = 1_000_000, 1_000
RECORDS_PER_S = 100.0
IDLE_S = 15.0
INCREMENTS = 15
_VACUUM = "import sqlite3, sys, os; db = sqlite3.connect(sys.argv[1]); db.execute('VACUUM INTO ?', (sys.argv[2],));"
_BACKUP = "import sqlite3, sys, os; db = sqlite3.connect(sys.argv[1]); db.backup(sqlite3.connect(sys.argv[2]));"
_SYNC = "os.fsync(os.open(sys.argv[2], os.O_RDWR))"


class Copy(NamedTuple):
    """One copy: how long it took, how large it is, and the 99th percentile of what recording waited meanwhile."""

    took_s: float
    size_bytes: int
    p99_ms: float


class _Till:
    """Records at a steady rate, for ever; ``waits_s`` since `fresh`."""

    def __init__(self, journal: TransactionJournal) -> None:
        self.journal = journal
        self.waits_s: list[float] = []

    async def run(self) -> None:
        number, due = 0, time.perf_counter()
        while True:
            due += 1 / RECORDS_PER_S
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            number += 1
            began = time.perf_counter()
            await self.journal.submit(record(stan=f"{number % 1_000_000:06d}"))
            self.waits_s.append(time.perf_counter() - began)
            due = max(due, began)

    def p99_ms(self) -> float:
        waits = sorted(self.waits_s)
        return waits[len(waits) * 99 // 100] * 1000


@asynccontextmanager
async def _selling(path: Path) -> AsyncIterator[_Till]:
    database = Database(path, SystemClock())
    database.open()
    journal = TransactionJournal(database, SystemClock(), bindings=BINDINGS, alarm=lambda _code, _detail: None)
    till = _Till(journal)
    selling = asyncio.create_task(till.run())
    try:
        yield till
    finally:
        selling.cancel()
        await asyncio.wait([selling])
        await database.close()


async def _seal(path: Path, place: FolderPlace, recipient: str, kind: BackupKind, after: int) -> int:
    """Bytes of the sealed file."""
    origin = Origin("shop-1", "T-0001", "SN123", "0.1.0")
    now = rfc3339(SystemClock().now())
    job = Seal(str(path), place, origin, (recipient,), kind, after, now, uuid7())
    done = msgspec.json.decode(await run_child(CHILD, msgspec.json.encode(job), deadline_s=1200), type=Result)
    assert isinstance(done, Sealed), done
    return done.size_bytes


async def _raw(program: str, path: Path, to: Path) -> int:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program + _SYNC, str(path), str(to))
    assert await process.wait() == 0
    return await asyncio.to_thread(_take_away, to)


def _take_away(file: Path) -> int:
    size_bytes = file.stat().st_size
    file.unlink()
    return size_bytes


async def _measured(till: _Till, work: Callable[[], Awaitable[int]], times: int = 1) -> Copy:
    till.waits_s.clear()
    took, size_bytes = [], 0
    for _ in range(times):
        began = time.perf_counter()
        size_bytes = await work()
        took.append(time.perf_counter() - began)
    return Copy(statistics.median(took), size_bytes, till.p99_ms())


async def _measure(path: Path, card: Path) -> dict[str, Copy]:
    place, recipient = FolderPlace("card", str(card)), present().generate().public
    seen: dict[str, Copy] = {}
    async with _selling(path) as till:
        await asyncio.sleep(2)
        till.waits_s.clear()
        await asyncio.sleep(IDLE_S)
        seen["nothing else"] = Copy(0.0, 0, till.p99_ms())

        async def newest() -> int:
            _first, last = await till.journal.extent()
            return await _seal(path, place, recipient, "segment", last - NEW)

        seen["increment"] = await _measured(till, newest, times=INCREMENTS)
        seen["full copy"] = await _measured(till, lambda: _seal(path, place, recipient, "snapshot", 0))
        seen["VACUUM INTO"] = await _measured(till, lambda: _raw(_VACUUM, path, card.with_name("raw")))
        seen["backup API"] = await _measured(till, lambda: _raw(_BACKUP, path, card.with_name("raw")))
    return seen


def report() -> list[Row]:
    """One full copy, the median of several increments; prints all of them."""
    with tempfile.TemporaryDirectory(prefix="pos-bench-") as name:
        card = Path(name) / "card"
        card.mkdir()
        seen = asyncio.run(_measure(big_journal.make(Path(name), ENTRIES), card))
    print(f"{ENTRIES:,} entries, {NEW:,} of them new; {RECORDS_PER_S:g} records a second meanwhile")
    print(f"{'':>14} {'s':>8} {'MB':>9} {'p99 ms':>8}")
    for what, one in seen.items():
        print(f"{what:>14} {one.took_s:8.2f} {one.size_bytes / 1e6:9.3f} {one.p99_ms:8.2f}", flush=True)
    increment, full, raw, idle = (seen[one] for one in ("increment", "full copy", "VACUUM INTO", "nothing else"))

    mb, full_mb, raw_mb = (one.size_bytes / 1e6 for one in (increment, full, raw))
    shares = [
        Row("increment, bytes", mb, "MB", 1 / 40, full_mb, "sealed full copy"),
        Row("increment, time", increment.took_s, "s", 1 / 20, full.took_s, "sealed full copy"),
        Row("increment, bytes", mb, "MB", 1 / 40, raw_mb, "VACUUM INTO"),
    ]
    return [
        *(replace(row, note=f"1/{1 / row.ratio:,.0f}") for row in shares if row.ratio),
        Row("recording p99 in an increment", increment.p99_ms, "ms", 2.0, idle.p99_ms, "nothing else"),
        Row("recording p99 in a full copy", full.p99_ms, "ms", 2.0, idle.p99_ms, "nothing else"),
    ]
