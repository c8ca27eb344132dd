"""Tables of a snapshot come in from this or an older release, from a newer one that allows it, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.errors import BackupUnusable
from agent.store import meta
from agent.store.building import scratch
from agent.store.restored_rows import TableRows, load_tables
from agent.store.schema import migrations

NOW = datetime(2026, 11, 25, tzinfo=UTC)
NEWEST = len(migrations())
FAULTS = TableRows(
    ("code", "device", "impact", "detail", "since", "reported", "until"),
    [("TXN-CON-001", "journal", "none", "as it was", 1, 1, None)],
)


def faults_after(tables: dict[str, TableRows], schema: int) -> list[tuple[str, str]]:
    with scratch(NOW, migrations()) as db:
        load_tables(db, tables, schema, NOW, same_unit=True)
        assert meta.get(db, "fact") == "kept"
        return [tuple(row) for row in db.execute("SELECT code, detail FROM health_faults")]


def facts(*more: tuple[str, str]) -> TableRows:
    return TableRows(("name", "value"), [("fact", "kept"), *more])


@pytest.mark.parametrize("schema", [3, NEWEST])
def test_tables_of_this_or_an_older_schema_are_brought_up_to_the_present_one(schema: int) -> None:
    assert faults_after({"meta": facts(), "health_faults": FAULTS}, schema) == [("TXN-CON-001", "as it was")]


def test_a_newer_schema_that_only_added_is_read_without_what_it_added() -> None:
    more = TableRows((*FAULTS.columns, "colour"), [(*FAULTS.rows[0], "red")])
    usable = facts(("schema_usable_from", f"{NEWEST + 1}:{NEWEST}"))
    tables = {"meta": usable, "health_faults": more, "later": TableRows(("a",), [(1,)])}
    assert faults_after(tables, NEWEST + 1) == [("TXN-CON-001", "as it was")]


@pytest.mark.parametrize("told", [f"{NEWEST + 1}:{NEWEST + 1}", f"{NEWEST}:1", "nonsense", ""])
def test_a_newer_schema_that_changed_is_not_guessed_at(told: str) -> None:
    with pytest.raises(BackupUnusable, match="a newer release made it"):
        faults_after({"meta": facts(("schema_usable_from", told)), "health_faults": FAULTS}, NEWEST + 1)
    with pytest.raises(BackupUnusable, match="a newer release made it"):
        faults_after({}, NEWEST + 1)
