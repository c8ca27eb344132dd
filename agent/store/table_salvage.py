"""The rows of the small tables out of a damaged file: by SQLite as far as it reads them, else from the bare pages.

What a row of a table looks like is taken from the new file's own schema, so that no list here can be forgotten. A page
counts as it was last written; of a row that is found twice the newer one counts. For children only.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from agent.store.sqlite import Connection, DatabaseError, open_readonly
from agent.store.sqlite_pages import INDEX_LEAF, TABLE_LEAF, PageFile, Row, Value

ENTRIES: Final = "entries"
_READ_LIMIT_S: Final = 5.0  # a spoilt tree can send a reader in circles
_ROWS_LIMIT: Final = 1_000_000
_KINDS: Final = {"INTEGER": int, "TEXT": str, "BLOB": bytes}
_ROOM_AFTER_LOSS: Final = 100_000  # numbers that may have been given out by rows that are gone
_OF_SQLITE: Final = "sqlite_"
_REVISION: Final = "rev"  # a run's row is changed in place: the highest revision is the latest


class Table(NamedTuple):
    """``columns``: (name, declared type, must not be null, place in the primary key or 0)."""

    name: str
    columns: tuple[tuple[str, str, bool, int], ...]
    has_rowid: bool

    @property
    def names(self) -> list[str]:
        return [column[0] for column in self.columns]


def copy_tables(source: Path, pages: PageFile, db: Connection) -> list[str]:
    """Fill every table of the new file ``db`` but the entries; returns the names of those not read whole."""
    tables = [table for table in _tables(db) if table.name != ENTRIES]
    spoilt = []
    for table in tables:
        if not _copy_by_sqlite(source, table, db):
            spoilt.append(table)
    if spoilt:
        _copy_from_pages(pages, spoilt, db)
        _leave_room(db)
    return [table.name for table in spoilt]


def _tables(db: Connection) -> list[Table]:
    found = []
    for _schema, name, kind, _columns, without_rowid, _strict in db.execute("PRAGMA table_list").fetchall():
        if kind != "table" or name in ("sqlite_schema", "sqlite_temp_schema"):
            continue
        rows = db.execute(f"PRAGMA table_info({name})").fetchall()
        columns = tuple((column, str(declared), bool(needed), key) for _n, column, declared, needed, _d, key in rows)
        found.append(Table(name, columns, not without_rowid))
    return sorted(found, key=lambda table: table.name == "sqlite_sequence")  # last: rows that come in move it


def _copy_by_sqlite(source: Path, table: Table, db: Connection) -> bool:
    """True when the whole table could be read."""
    rows: list[tuple[Any, ...]] = []
    whole = False
    try:
        old = open_readonly(source)
    except DatabaseError:
        return False
    until = time.monotonic() + _READ_LIMIT_S
    old.set_progress_handler(lambda: time.monotonic() > until, 10_000)
    names = table.names
    try:
        there = {row[1] for row in old.execute(f"PRAGMA table_info({table.name})")}
        if not there:
            names = []
            # An older schema has no such table; a spoilt one says so, too.
            whole = bool(old.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
        else:
            names = [name for name in names if name in there]
            for row in old.execute(f"SELECT {', '.join(names)} FROM {table.name}"):  # noqa: S608  # names of our own
                rows.append(row)
            whole = not _problems(old, table)
    except DatabaseError:
        pass
    finally:
        old.close()
    if names and rows:
        _insert(db, table, names, rows)
    return whole


def _problems(old: Connection, table: Table) -> bool:
    if table.name.startswith(_OF_SQLITE):
        return False
    return [row[0] for row in old.execute(f"PRAGMA quick_check({table.name})")] != ["ok"]


def _copy_from_pages(pages: PageFile, tables: list[Table], db: Connection) -> None:
    of_width: dict[int, list[Table]] = {}  # most rows by far are entries, or of their indexes
    for table in tables:
        of_width.setdefault(len(table.columns), []).append(table)
    for place in pages.newest_places():
        for kind in (TABLE_LEAF, INDEX_LEAF):
            for row in pages.rows(place, kind):
                for table in of_width.get(len(row.values), ()):
                    if _is_of(row, table, kind):
                        _insert(db, table, table.names, [_values(row, table)])


def _is_of(row: Row, table: Table, kind: int) -> bool:
    is_other = table.has_rowid is not (kind == TABLE_LEAF) or table.name.startswith(_OF_SQLITE)
    if is_other or len(row.values) != len(table.columns):
        return False
    return all(
        _fits(value, declared, needed=needed, is_rowid=_is_rowid(table, column))
        for value, column in zip(row.values, table.columns, strict=True)
        for declared, needed in [column[1:3]]
    )


def _fits(value: Value, declared: str, *, needed: bool, is_rowid: bool) -> bool:
    if is_rowid or value is None:
        return value is None and (is_rowid or not needed)
    return isinstance(value, _KINDS.get(declared, object))


def _is_rowid(table: Table, column: tuple[str, str, bool, int]) -> bool:
    keys = [one for one in table.columns if one[3]]
    return table.has_rowid and column[1] == "INTEGER" and keys == [column]


def _values(row: Row, table: Table) -> tuple[Value, ...]:
    return tuple(
        row.rowid if _is_rowid(table, column) else value
        for value, column in zip(row.values, table.columns, strict=True)
    )


def _insert(db: Connection, table: Table, names: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Rows that contradict one already there are left out, but for a run's later revision."""
    keys = [column[0] for column in table.columns if column[3]]
    conflict = "ON CONFLICT DO NOTHING"
    if _REVISION in names and keys:
        changes = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
        conflict = f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes} WHERE excluded.{_REVISION} > {_REVISION}"
    if table.name == "sqlite_sequence":
        db.execute("DELETE FROM sqlite_sequence")
    places = ", ".join("?" * len(names))
    statement = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places}) {conflict}"  # noqa: S608
    for row in rows[:_ROWS_LIMIT]:
        try:
            db.execute(statement, row)
        except DatabaseError:
            continue  # against a rule of the table: it was no row of it


def _leave_room(db: Connection) -> None:
    """Numbers of rows that could not be read must not be given out a second time."""
    for table in _tables(db):
        if any(name == "number" or (table.name == "outbox" and name == "id") for name in table.names):
            column = "id" if table.name == "outbox" else "number"
            (highest,) = db.execute(f"SELECT coalesce(max({column}), 0) FROM {table.name}").fetchone()  # noqa: S608
            (counted,) = db.execute(
                "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?", (table.name,)
            ).fetchone()
            db.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table.name,))
            db.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)",
                (table.name, max(highest, counted) + _ROOM_AFTER_LOSS),
            )
