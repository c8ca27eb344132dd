"""The write-ahead log is spoilt before it was copied into the file: what it has twice comes back."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from pathlib import Path

import pytest

from agent.errors import StoreUnavailable
from agent.runtime.clock import SystemClock
from agent.store import rebuild
from agent.store.database import Worth
from agent.store.soundness import Soundness
from agent.store.sqlite import Connection
from tests.kit.store_records import OpenJournal, open_journal, sale

COUNT, PAGE, FRAME, HEADER = 60, 4096, 4120, 32
TABLE_LEAF = 13


async def _sell(opened: OpenJournal) -> None:
    for number in range(COUNT):
        await opened.store(sale(stan=f"{number:06d}"))


async def _rebuilt(opened: OpenJournal) -> None:
    service = asyncio.create_task(Soundness(opened.database, SystemClock(), lambda *_said: None).run())
    async with asyncio.timeout(30):
        while await opened.database.read(rebuild.under_way) is not None:
            await asyncio.sleep(0.02)
    service.cancel()
    await asyncio.wait([service])


def _there_and_missing(db: Connection) -> tuple[int, int]:
    (there,) = db.execute("SELECT count(*) FROM entries WHERE sequence <= ?", (COUNT,)).fetchone()
    (missing,) = db.execute("SELECT coalesce(sum(upto_seq - from_seq + 1), 0) FROM missing").fetchone()
    return there, missing


def _spoil_newest_leaves(wal: Path) -> None:
    """The newest image of every page of a table; the ones before it, of the commits before, stay."""
    content = bytearray(wal.read_bytes())
    newest = {int.from_bytes(content[at : at + 4], "big"): at + 24 for at in range(HEADER, len(content), FRAME)}
    with wal.open("r+b") as file:
        for page, at in newest.items():
            if content[at] == TABLE_LEAF and page > 1:
                file.seek(at)
                file.write(random.Random(page).randbytes(PAGE))


def _fail(_db: Connection) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    raise error


async def test_a_connection_that_met_an_error_does_not_copy_a_spoilt_log_into_the_file(tmp_path: Path) -> None:
    async with open_journal(tmp_path) as opened:
        await _sell(opened)
        _spoil_newest_leaves(tmp_path / "agent.db-wal")
        with pytest.raises(StoreUnavailable):
            await opened.database.write(_fail, worth=Worth.AUDIT)
        assert await opened.store(sale(stan="999999")) == COUNT + 1
        await _rebuilt(opened)
        there, missing = await opened.database.read(_there_and_missing)
        assert there + missing == COUNT
        assert missing < COUNT // 4


async def test_a_log_of_which_nothing_can_be_read_makes_no_new_journal_that_forgets_the_old_one(tmp_path: Path) -> None:
    """A terminal of which everything is in the log still: its first minutes."""
    state = tmp_path / "after the power cut"
    state.mkdir()
    async with open_journal(tmp_path) as opened:
        await _sell(opened)
        for name in ("agent.db", "agent.db-wal", "agent.tail"):
            shutil.copy(tmp_path / name, state / name)
    with (state / "agent.db-wal").open("r+b") as file:
        file.seek(HEADER + 16)  # the first frame's checksum: SQLite reads none of them
        file.write(bytes(8))
    async with open_journal(state) as opened:
        assert await opened.store(sale(stan="999999")) > COUNT
        await _rebuilt(opened)
        there, missing = await opened.database.read(_there_and_missing)
        assert there == COUNT
        assert missing == 0
