"""The reader of bare pages says of whole files what SQLite says, and of garbage nothing that breaks it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.store.sqlite_pages import INDEX_LEAF, TABLE_LEAF, PageFile, Value, record_values, varint

SCHEMA = """
CREATE TABLE things (number INTEGER PRIMARY KEY, a, b TEXT, c BLOB, d, e);
CREATE TABLE names (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
ROWS = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1) | st.none() | st.floats(allow_nan=False),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50),
        st.binary(max_size=100) | st.integers(3_900, 20_000).map(bytes),
        st.sampled_from([0, 1, -1, 127, 128, 2**47, -(2**47)]),
    ),
    max_size=40,
)


def rows_of(path: Path, kind: int) -> list[tuple[int, tuple[Value, ...]]]:
    pages = PageFile(path, path.with_name(f"{path.name}-wal"))
    try:
        return [(row.rowid, row.values) for place in pages.newest_places() for row in pages.rows(place, kind)]
    finally:
        pages.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, in_wal=st.booleans())
def test_every_row_is_read_as_sqlite_wrote_it(tmp_path: Path, rows: list[tuple[Value, ...]], in_wal: bool) -> None:
    path = tmp_path / "some.db"
    for leftover in tmp_path.iterdir():
        leftover.unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.executescript(SCHEMA)
        for row in rows:
            db.execute("INSERT INTO things (a, b, c, d, e) VALUES (?, ?, ?, ?, 1)", row)
        for number in range(len(rows)):
            db.execute("INSERT INTO names VALUES (?, ?)", (f"name {number}", "x" * number * 40))
        if not in_wal:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        found = {rowid: values for rowid, values in rows_of(path, TABLE_LEAF) if len(values) == 6}
        things = db.execute("SELECT * FROM things").fetchall()
        assert found == {row[0]: (None, *row[1:]) for row in things}
        names = sorted(values for _rowid, values in rows_of(path, INDEX_LEAF) if len(values) == 2)
        kept = db.execute("SELECT * FROM names ORDER BY name").fetchall()
        assert len(names) <= len(kept)  # in a deeper tree some rows lie in inner pages
        assert set(names) <= set(kept)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    database=st.binary(max_size=9_000),
    wal=st.binary(max_size=9_000),
    header=st.booleans(),
    kind=st.sampled_from([TABLE_LEAF, INDEX_LEAF]),
)
def test_garbage_is_passed_over(tmp_path: Path, database: bytes, wal: bytes, header: bool, kind: int) -> None:
    begin = b"SQLite format 3\0\x02\x00" if header else b""
    (tmp_path / "some.db").write_bytes(begin + database)
    (tmp_path / "some.db-wal").write_bytes(wal)
    for _rowid, values in rows_of(tmp_path / "some.db", kind):
        assert isinstance(values, tuple)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_none(payload: bytes) -> None:
    values = record_values(payload)
    assert values is None or isinstance(values, tuple)


@given(st.integers(0, 2**64 - 1))
def test_a_varint_is_read_back(value: int) -> None:
    signed = value - 2**64 if value >> 63 else value
    groups = []
    if value >> 56:
        encoded = bytes([0x80 | value >> shift & 0x7F for shift in range(57, 7, -7)]) + bytes([value & 0xFF])
    else:
        rest = value
        while True:
            groups.append(rest & 0x7F)
            rest >>= 7
            if not rest:
                break
        encoded = bytes([0x80 | group for group in reversed(groups[1:])]) + bytes([groups[0]])
    assert varint(encoded, 0) == (signed, len(encoded))
    assert varint(encoded[:-1], 0) == (0, 0)


def test_a_file_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    assert rows_of(tmp_path / "nothing", TABLE_LEAF) == []
    os.mkdir(tmp_path / "folder")
    assert rows_of(tmp_path / "folder", TABLE_LEAF) == []
