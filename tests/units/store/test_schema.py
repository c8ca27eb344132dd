"""Going forward and back between releases: what only adds is usable by the release before, anything else is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agent.errors import StoreDamaged
from agent.runtime.clock import SystemClock
from agent.store import meta, schema
from agent.store.database import Connection

ADDS = "-- Schema {0}, usable from {1}: more.\nCREATE TABLE t{0} (x);"
CHANGES = "-- Schema {0}: other.\nCREATE TABLE t{0} (x);"


def _migrated(path: Path, steps: list[schema.Migration]) -> Connection:
    db = sqlite3.connect(path, isolation_level=None, factory=Connection)
    schema.initialise(db, SystemClock().now(), steps)
    return db


def _with(*scripts: str) -> list[schema.Migration]:
    known = schema.migrations()
    first = len(known) + 1
    return [*known, *(schema.Migration(first + index, script) for index, script in enumerate(scripts))]


def test_a_file_that_a_newer_release_only_added_to_is_used_and_left_as_it_is(tmp_path: Path) -> None:
    known = len(schema.migrations())
    _migrated(tmp_path / "agent.db", _with(ADDS.format(known + 1, known), ADDS.format(known + 2, known))).close()
    db = _migrated(tmp_path / "agent.db", schema.migrations())  # the release before
    meta.put(db, "something", "it writes")
    assert db.execute("PRAGMA user_version").fetchone() == (known + 2,)
    assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name LIKE 't_'").fetchone() == (2,)
    db.close()


@pytest.mark.parametrize("order", ["changes last", "changes first"])
def test_one_step_that_changes_things_shuts_the_releases_before_it_out(tmp_path: Path, order: str) -> None:
    known = len(schema.migrations())
    scripts = [ADDS.format(known + 1, known), CHANGES.format(known + 2)]
    if order == "changes first":
        scripts = [CHANGES.format(known + 1), ADDS.format(known + 2, known)]
    _migrated(tmp_path / "agent.db", _with(*scripts)).close()
    with pytest.raises(StoreDamaged) as caught:
        _migrated(tmp_path / "agent.db", schema.migrations())
    assert caught.value.facts == {"schema": known + 2, "known": known}


def test_coming_back_to_the_newer_release_goes_on_where_it_was(tmp_path: Path) -> None:
    known = len(schema.migrations())
    newer = _with(ADDS.format(known + 1, known))
    for steps in (newer, schema.migrations(), newer):
        db = _migrated(tmp_path / "agent.db", steps)
        assert db.execute("PRAGMA user_version").fetchone() == (known + 1,)
        db.close()


@pytest.mark.parametrize("note", ["", "rubbish", "7:x", "1:1", ":"])
def test_a_newer_file_that_does_not_say_how_far_back_it_reaches_is_refused(tmp_path: Path, note: str) -> None:
    known = len(schema.migrations())
    db = _migrated(tmp_path / "agent.db", _with(ADDS.format(known + 1, known)))
    meta.put(db, "schema_usable_from", note)
    db.close()
    with pytest.raises(StoreDamaged):
        _migrated(tmp_path / "agent.db", schema.migrations())


def test_each_shipped_step_names_its_own_number_and_reaches_back_no_further_than_it_can() -> None:
    for step in schema.migrations():
        assert step.script.startswith(f"-- Schema {step.version}")
        assert 1 <= step.usable_from <= step.version


def test_the_release_of_schema_3_can_use_a_file_of_today_if_every_step_since_only_adds(tmp_path: Path) -> None:
    _migrated(tmp_path / "agent.db", schema.migrations()[:4]).close()
    db = _migrated(tmp_path / "agent.db", schema.migrations()[:3])
    db.execute("INSERT INTO health_faults VALUES ('HW-PRN-002', 'printer-0', 'print', '', 1, 0, NULL)")
    db.close()
