"""Recording and looking at the newest, in a journal of 10 thousand, of a million, of ten million entries.

Three files, measured in turns in the same process with the store as the agent uses it: what grows with the journal
shows as a ratio to the smallest.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from agent.runtime.clock import SystemClock
from agent.store.database import Database
from agent.store.transactions import TransactionFilters, TransactionJournal
from tests.bench import big_journal
from tests.bench.row import Row
from tests.kit.store_records import BINDINGS, record

SIZES = (10_000, 1_000_000, 10_000_000)
ROUNDS = 5
RECORDS, IN_FLIGHT = 3000, 64
LOOKS = 100


async def _round(path: Path) -> tuple[float, float]:
    """Inserts a second, and microseconds for the newest 50."""
    clock = SystemClock()
    database = Database(path, clock)
    database.open()
    try:
        journal = TransactionJournal(database, clock, bindings=BINDINGS, alarm=lambda _code, _detail: None)
        offers = iter([record(stan=f"{number:06d}") for number in range(RECORDS)])

        async def sell() -> None:
            for one in offers:
                await journal.submit(one)

        began = time.perf_counter()
        await asyncio.gather(*(sell() for _ in range(IN_FLIGHT)))
        inserts = RECORDS / (time.perf_counter() - began)
        looks = []
        for _ in range(LOOKS):
            began = time.perf_counter()
            page = await journal.list(TransactionFilters(newest_first=True), 50)
            looks.append(time.perf_counter() - began)
            assert len(page.items) == 50
        return inserts, statistics.median(looks) * 1e6
    finally:
        await database.close()


def report() -> list[Row]:
    """Interleaved rounds; medians. The largest is left out, and says so, where the disk is too small for it."""
    with tempfile.TemporaryDirectory(prefix="pos-bench-") as name:
        sizes = []
        for size in SIZES:
            free = shutil.disk_usage(name).free
            if free < 2 * size * big_journal.BYTES_PER_ENTRY:
                print(f"growth: {size:,} entries are left out, {free / 1e9:.1f} GB are free in {name}")
                continue
            began = time.monotonic()
            (Path(name) / str(size)).mkdir()
            path = big_journal.make(Path(name) / str(size), size)
            print(f"growth: {size:,} entries, {path.stat().st_size / 1e6:,.0f} MB, {time.monotonic() - began:.0f} s")
            sizes.append((size, path))
        seen: dict[int, list[tuple[float, float]]] = {size: [] for size, _path in sizes}
        for _ in range(ROUNDS):
            for size, path in sizes:
                seen[size].append(asyncio.run(_round(path)))
    rows = []
    least, *others = sizes
    base_inserts, base_look = (statistics.median(one) for one in zip(*seen[least[0]], strict=True))
    for size, _path in others:
        inserts, look = (statistics.median(one) for one in zip(*seen[size], strict=True))
        what = f"at {size / 1e6:g} M entries"
        rows.append(Row(f"insert, {what}", inserts, "1/s", 0.5, base_inserts, "at 10 k entries", at_least=True))
        rows.append(Row(f"newest 50, {what}", look, "µs", 2.0, base_look, "at 10 k entries"))
    return rows
