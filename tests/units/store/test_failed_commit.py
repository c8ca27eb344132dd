"""A COMMIT that reports failure: whether it reached the disk or not, each caller is told what is on the disk."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from agent.errors import StoreUnavailable
from agent.store.database import Connection, Worth
from tests.kit.store_records import open_journal, record, sale


class _CommitFails:
    """Stands before the connection's own ``execute`` and spoils so many COMMITs, before or after they take effect."""

    def __init__(self, times: int, *, after: bool) -> None:
        self.left = times
        self._after = after
        self._really = Connection.execute

    def execute(self, db: Connection, sql: str, *values: object) -> sqlite3.Cursor:
        spoil = sql == "COMMIT" and self.left > 0
        self.left -= spoil
        if spoil and not self._after:
            raise sqlite3.OperationalError("disk I/O error")
        cursor = self._really(db, sql, *values)  # type: ignore[arg-type]
        if spoil:
            raise sqlite3.OperationalError("disk I/O error")
        return cursor


def spoil(monkeypatch: pytest.MonkeyPatch, times: int, *, after: bool) -> None:
    failing = _CommitFails(times, after=after)

    def execute(db: Connection, sql: str, *values: object) -> sqlite3.Cursor:
        return failing.execute(db, sql, *values)

    monkeypatch.setattr(Connection, "execute", execute)


@pytest.mark.parametrize("after", [False, True])
async def test_a_group_whose_commit_failed_is_on_the_disk_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    async with open_journal(tmp_path) as opened:
        await opened.store(sale())
        spoil(monkeypatch, 1, after=after)
        futures = [opened.journal.submit(record(stan=f"{number:06d}")) for number in range(10)]
        assert [stored.sequence for stored in await asyncio.gather(*futures)] == list(range(2, 12))
        assert opened.database.metrics().failed_groups == 1
        assert (await opened.journal.verify()).upto_sequence == 11


async def test_when_the_replay_fails_too_nothing_is_stored_and_the_next_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_journal(tmp_path) as opened:
        await opened.store(sale())
        spoil(monkeypatch, 2, after=False)
        with pytest.raises(StoreUnavailable):
            await opened.store(sale(stan="000001"))
        assert await opened.store(sale(stan="000002")) == 2
        await opened.database.write(lambda _db: None, worth=Worth.RUN)
        found = await opened.journal.verify()
        assert (found.intact, found.upto_sequence) == (True, 2)


async def test_a_connection_that_is_at_fault_is_replaced(tmp_path: Path) -> None:
    connections: list[Connection] = []

    def fails(db: Connection) -> None:
        connections.append(db)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        error.sqlite_errorname = "SQLITE_IOERR_READ"
        raise error

    async with open_journal(tmp_path) as opened:
        await opened.store(sale())
        with pytest.raises(StoreUnavailable):
            await opened.database.write(fails, worth=Worth.RUN)
        assert await opened.store(sale(stan="000001")) == 2
        await opened.database.write(connections.append, worth=Worth.RUN)
        assert connections[0] is not connections[-1]
        assert (await opened.journal.verify()).intact
