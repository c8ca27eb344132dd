"""Entries a second that one collector holds and signs for, from a thousand terminals, beside a raw insert of the rows.

All of it on this machine: the terminals (one process), the broker, the collector. The raw insert is sqlite3 alone with
the same rows, the same pragmas and commits of the same size: no MQTT, no check, no hash, no signature.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.bench.row import Row
from tests.kit.broker import Broker
from tests.kit.collector_process import CollectorProcess, new_key
from tests.kit.swarm import Book, Swarm

TERMINALS = 1_000
ENTRIES = 60
FLOOR = 5_000.0
_COMMIT_ROWS = 1_280
_CONNECT_S, _DRAIN_S = 60.0, 300.0


async def _collected(folder: Path) -> tuple[float, list[Book]]:
    """Entries a second, from the moment when every terminal is connected until each has a signature for all."""
    key = new_key(folder)
    with (
        Broker(folder, saves=False, config="log_type none") as broker,
        CollectorProcess(broker.port, str(folder / "store.db"), key) as collector,
    ):
        async with Swarm(broker.port, TERMINALS, entries=0) as swarm:
            await swarm.until(lambda: swarm.up == TERMINALS, _CONNECT_S)
            for terminal in swarm.terminals:
                terminal.book.write(ENTRIES)
            began = time.perf_counter()
            for terminal in swarm.terminals:
                terminal.pump()
            await swarm.all_delivered(_DRAIN_S)
            took_s = time.perf_counter() - began
        collector.stop()
    return TERMINALS * ENTRIES / took_s, [terminal.book for terminal in swarm.terminals]


def _inserted(folder: Path, books: list[Book]) -> float:
    """Rows a second."""
    rows = [
        (number, sequence, "2026-11-21T02:00:00.000Z", book.record(sequence), book.hashes[sequence], None, 0)
        for begin in range(1, ENTRIES + 1, 10)
        for number, book in enumerate(books)
        for sequence in range(begin, min(begin + 10, ENTRIES + 1))
    ]
    with closing(sqlite3.connect(folder / "raw.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL").fetchone()
        database.execute("PRAGMA synchronous = FULL")
        database.execute(
            "CREATE TABLE entries (journal INTEGER, sequence INTEGER, at TEXT, record TEXT, hash BLOB, mark TEXT,"
            " received_ms INTEGER, PRIMARY KEY (journal, sequence))"
        )
        began = time.perf_counter()
        for begin in range(0, len(rows), _COMMIT_ROWS):
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", rows[begin : begin + _COMMIT_ROWS])
            database.execute("COMMIT")
        return len(rows) / (time.perf_counter() - began)


def report() -> list[Row]:
    """One row."""
    with tempfile.TemporaryDirectory(prefix="pos-bench-") as folder:
        rate, books = asyncio.run(_collected(Path(folder)))
        raw = _inserted(Path(folder), books)
    return [
        Row(
            f"collector, {TERMINALS:,} terminals",
            rate,
            "entries/s",
            FLOOR,
            peer=raw,
            peer_name="raw insert of the rows",
            absolute=True,
            at_least=True,
        )
    ]
