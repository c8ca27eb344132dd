"""The collector's store in a SQLite file: the default. WAL, every commit flushed; one writer at a time, others wait."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from agent.errors import AgentError, BadRequest, NeedsPerson, StoreFull, StoreUnavailable
from agent.fleet.collector import schema
from agent.fleet.collector.database import Parameters, Row, check_version, make_tables

_WORDS: Final = {"serial": "INTEGER PRIMARY KEY", "integer": "INTEGER", "bytes": "BLOB"}
_BUSY_S: Final = 60.0  # another collector of this machine may be in a long commit
_CACHE_KIB: Final = 65_536
_CHECKPOINT_PAGES: Final = 8_192
_ABSOLUTE: Final = "sqlite:///PATH: an absolute path has four slashes, sqlite:////var/…"
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class SqliteStore:
    """A file that is there, or is made with ``create``.

    Raises:
        BadRequest: There is none, and none was to be made; or it cannot be.
        NeedsPerson: It is no store of a collector, damaged, or of another release.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        if not create and not path.is_file():
            raise BadRequest(f"there is no store at {path}", field="--store", hint=_ABSOLUTE)
        self._path = path
        with self._translated():
            try:
                self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            except sqlite3.OperationalError as err:
                raise BadRequest(f"cannot open {path}: {err}", field="--store", hint=_ABSOLUTE) from err
            try:
                self._prepare(create=create)
            except (sqlite3.Error, AgentError):
                self._db.close()
                raise

    def _prepare(self, *, create: bool) -> None:
        self._db.execute("PRAGMA journal_mode = WAL").fetchone()
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        if create:
            with self.transaction() as session:
                make_tables(session, (statement.format_map(_WORDS) for statement in schema.TABLES))
        else:
            with self.reading() as session:
                check_version(session)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[SqliteSession]:
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            done = False
            try:
                yield SqliteSession(self._db)
                self._db.execute("COMMIT")
                done = True
            finally:
                if not done and self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    @contextlib.contextmanager
    def reading(self) -> Iterator[SqliteSession]:
        with self._translated():
            self._db.execute("BEGIN")
            try:
                yield SqliteSession(self._db)
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as err:
            code = getattr(err, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise StoreFull(f"no space for {self._path}", hint="nothing is lost: terminals keep it") from err
            if code in _DAMAGED or (code == sqlite3.SQLITE_ERROR and "no such table" in str(err)):
                raise NeedsPerson(f"{self._path} is no store of a collector, or damaged: {err}") from err
            raise StoreUnavailable(f"{self._path}: {err}") from err


class SqliteSession:
    """See `agent.fleet.collector.database.Session`."""

    lock = ""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        return self._db.execute(sql, parameters).fetchall()

    def run(self, sql: str, parameters: Parameters = ()) -> None:
        self._db.execute(sql, parameters)

    def run_many(self, sql: str, rows: Sequence[Parameters]) -> None:
        self._db.executemany(sql, rows)

    def insert_bulk(self, table: str, columns: Sequence[str], rows: Sequence[Parameters]) -> None:
        marks = ", ".join("?" * len(columns))
        self.run_many(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)  # noqa: S608

    def among(self, column: str, values: Sequence[int]) -> tuple[str, object]:
        return f"{column} IN (SELECT value FROM json_each(?))", json.dumps(list(values))  # noqa: S608

    def stream(self, sql: str, parameters: Parameters = ()) -> Iterator[Row]:
        yield from self._db.execute(sql, parameters)
