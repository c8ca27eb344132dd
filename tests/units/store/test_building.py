"""A database made beside the real one is in place whole, or leaves nothing; what stands there already is respected."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.errors import Refused, StoreUnavailable
from agent.store import meta
from agent.store.building import being_built, building, check_place, put_in_place, remove_unfinished
from agent.store.rebuild import Rebuild, put_state
from agent.store.sqlite import open_readonly
from tests.kit.store_records import open_journal, sale

NOW = datetime(2026, 11, 25, 22, 0, 0, tzinfo=UTC)


def build(path: Path, fact: str) -> None:
    with building(path, NOW) as db:
        meta.put(db, "fact", fact)


def fact_in(path: Path) -> str | None:
    with closing(open_readonly(path)) as db:
        return meta.get(db, "fact")


def test_what_was_built_is_in_place_after_one_step_and_only_then(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    build(path, "new")
    assert [one.name for one in tmp_path.iterdir()] == ["agent.db.restoring"]
    assert put_in_place(path, NOW) is None
    assert [one.name for one in tmp_path.iterdir()] == ["agent.db"]
    assert (fact_in(path), path.stat().st_mode & 0o777) == ("new", 0o600)


def test_a_builder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    with pytest.raises(ZeroDivisionError), building(path, NOW) as db:
        meta.put(db, "fact", str(1 / 0))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreUnavailable), building(tmp_path / "missing" / "agent.db", NOW):
        pass


def test_what_a_killed_builder_left_is_recognised_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    assert remove_unfinished(path) is False
    being_built(path).write_bytes(b"half a database")
    being_built(path).with_name("agent.db.restoring-journal").write_bytes(b"its log")
    assert remove_unfinished(path) is True
    assert list(tmp_path.iterdir()) == []
    being_built(path).write_bytes(b"half a database")
    build(path, "new")
    put_in_place(path, NOW)
    assert fact_in(path) == "new"


def test_a_new_files_place_is_free_where_nothing_is_or_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    check_place(path)
    path.touch()
    check_place(path)
    build(path, "first")
    put_in_place(path, NOW)
    check_place(path)
    build(path, "second")
    kept = put_in_place(path, NOW)
    assert kept is not None
    assert (fact_in(path), fact_in(kept), kept.name) == ("second", "first", "agent.db.before-restore-20261125T220000Z")


async def test_entries_even_in_the_log_alone_keep_the_place(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    async with open_journal(tmp_path) as opened:
        await opened.store(sale())
        assert path.with_name("agent.db-wal").stat().st_size > 0
        with pytest.raises(Refused, match="holds 1 entry"):
            await asyncio.to_thread(check_place, path)
    with pytest.raises(Refused, match="holds 1 entry"):
        check_place(path)


@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
def test_a_log_without_its_file_keeps_the_place(tmp_path: Path, end: str) -> None:
    path = tmp_path / "agent.db"
    path.with_name(f"agent.db{end}").write_bytes(b"of a file that was moved away")
    with pytest.raises(Refused, match=f"agent.db{end} is there without agent.db"):
        check_place(path)


def test_a_damaged_file_that_is_being_replaced_keeps_the_place(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    note = path.with_name("agent.db.replacing")
    note.write_text("{}")
    with pytest.raises(Refused, match="is being replaced"):
        check_place(path)
    note.unlink()
    state = Rebuild(("agent.db.damaged",), "why", "2026-11-25T22:00:00Z", "a", None, 10, True, 0, "", (), 1)
    with building(path, NOW) as db:
        put_state(db, state)
    put_in_place(path, NOW)
    with pytest.raises(Refused, match="getting back the entries"):
        check_place(path)


def test_a_file_that_is_no_database_keeps_the_place(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    path.write_bytes(b"x" * 8192)
    with pytest.raises(Refused, match="cannot be looked into"):
        check_place(path)
    assert path.read_bytes() == b"x" * 8192
