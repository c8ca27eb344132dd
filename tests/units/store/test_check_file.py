"""The check of a whole file: what it calls damage, what a known hole, and what retention took."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from agent.store.check_file import Finding, check
from tests.kit import damage
from tests.kit.damage import Made

COUNT = 40


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return damage.make(tmp_path_factory.mktemp("whole"), COUNT, in_wal=0)


@pytest.fixture
def path(made: Made, tmp_path: Path) -> Path:
    return made.put(tmp_path)


def change(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(script)


def test_a_whole_journal_is_intact(path: Path) -> None:
    assert check(path) == Finding(True, COUNT, [])


def test_a_changed_record_is_damage_though_sqlite_is_content(path: Path) -> None:
    change(path, "UPDATE entries SET record = replace(record, '12800', '12801') WHERE sequence = 17")
    assert check(path) == Finding(False, 16, [], "entry 17 is not as it was stored")


def test_entries_that_are_gone_are_damage_unless_it_is_written_down(path: Path) -> None:
    change(path, "DELETE FROM entries WHERE sequence BETWEEN 10 AND 12")
    assert check(path) == Finding(False, 9, [10, 11, 12], "entries 10 to 12 are gone")
    change(path, "INSERT INTO missing VALUES (10, 10, 'damage'), (11, 12, 'backup')")
    assert check(path) == Finding(False, 9, [10, 11, 12])


def test_what_retention_took_is_no_hole(path: Path, made: Made) -> None:
    record, hash_ = made.entries[8]
    assert record
    change(
        path,
        f"DELETE FROM entries WHERE sequence <= 8; INSERT INTO meta VALUES ('journal_anchor', '8:{hash_.hex()}')",
    )
    assert check(path) == Finding(True, COUNT, [])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"no database" * 1000,
        lambda content: content[:8192] + bytes(8192) + content[16384:],
    ],
)
def test_a_spoilt_file_is_damage(path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path.write_bytes(spoil(path.read_bytes()))
    assert check(path).damage is not None


def test_a_file_that_is_gone_is_damage(tmp_path: Path) -> None:
    assert check(tmp_path / "agent.db").damage == "the database file is gone"
