"""What a journal that goes on after damage refuses: not more orders than it must."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.store import meta
from agent.store.database import Worth
from agent.store.rebuild_begin import Job, begin
from agent.store.sqlite import open_readonly
from tests.kit.store_records import open_journal, sale

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
AHEAD = int(datetime(2040, 1, 1, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize("orders_are_lost", [False, True])
async def test_a_clock_that_was_ahead_for_a_moment_has_no_orders_refused_unless_some_are_lost(
    tmp_path: Path, orders_are_lost: bool
) -> None:
    async with open_journal(tmp_path) as opened:
        await opened.store(sale())
        await opened.database.write(
            lambda db: db.execute(
                "INSERT INTO health_history (at, kind, device, detail) VALUES (?, 'state', 'board', '')", (AHEAD,)
            ),
            worth=Worth.AUDIT,
        )
    if orders_are_lost:
        with (tmp_path / "agent.db").open("r+b") as file, closing(open_readonly(tmp_path / "agent.db")) as db:
            page = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'commands'").fetchone()[0]
            file.seek((page - 1) * 4096)
            file.write(b"\xff" * 4096)
    new = tmp_path / "new.db"
    begin(Job(str(tmp_path / "agent.db"), str(new), str(tmp_path / "agent.tail"), "1" * 36, "a test", NOW.isoformat()))
    with closing(open_readonly(new)) as db:
        assert (meta.journal_began_at(db) == NOW) is not orders_are_lost
