"""What the collector asks of a database. Two implementations: a SQLite file, and a PostgreSQL server.

SQL is written with ``?`` and is the same for both but for what stands here. A transaction that ended without an error
is durable; one that failed left nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from agent.errors import BadRequest, NeedsPerson
from agent.fleet.collector import schema

Row = tuple[Any, ...]
Parameters = Sequence[object]


class Session(Protocol):
    """Statements within one transaction."""

    lock: str
    """Behind a SELECT that is to keep others from the rows until the end; "" where one writer is alone anyway."""

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]: ...

    def run(self, sql: str, parameters: Parameters = ()) -> None: ...

    def run_many(self, sql: str, rows: Sequence[Parameters]) -> None: ...

    def insert_bulk(self, table: str, columns: Sequence[str], rows: Sequence[Parameters]) -> None:
        """Insert many rows into a table, the fastest way there is."""
        ...

    def among(self, column: str, values: Sequence[int]) -> tuple[str, object]:
        """A condition with one ``?`` that ``column`` is one of ``values``, and what stands for the ``?``."""
        ...

    def stream(self, sql: str, parameters: Parameters = ()) -> Iterator[Row]:
        """Rows of a long answer as they are needed; one at a time in a session."""
        ...


class Database(Protocol):
    """An open store. Not for several threads at once."""

    def transaction(self) -> AbstractContextManager[Session]:
        """Begin, and commit at the end; nothing is kept when the block raises.

        Raises:
            StoreUnavailable: The database does not answer, or cannot write now: try again.
            StoreFull: No space.
        """
        ...

    def reading(self) -> AbstractContextManager[Session]:
        """One state of the whole store to read from, whatever others write meanwhile."""
        ...

    def close(self) -> None: ...


def open_store(where: str, *, create: bool = True) -> Database:
    """Open the store that ``--store`` names, with its tables.

    Args:
        where: ``sqlite:///PATH``, ``postgresql://…``, or the path of a SQLite file.
        create: Make it when it is not there.

    Raises:
        BadRequest: Neither, or psycopg is not installed.
        StoreUnavailable, NeedsPerson: It cannot be opened, or is of a newer program.
    """
    if where.startswith(("postgresql://", "postgres://")):
        from agent.fleet.collector.postgres_store import PostgresStore  # noqa: PLC0415  # a library of its own

        database: Database = PostgresStore(where)
    elif "://" in where and not where.startswith("sqlite:///"):
        raise BadRequest("a store is sqlite:///PATH, a path, or postgresql://…", field="--store")
    else:
        from agent.fleet.collector.sqlite_store import SqliteStore  # noqa: PLC0415

        database = SqliteStore(Path(where.removeprefix("sqlite:///")), create=create)
    return database


def make_tables(session: Session, statements: Iterable[str]) -> None:
    """Make what is not there yet.

    Raises:
        NeedsPerson: The tables are of another release.
    """
    for statement in statements:
        session.run(statement)
    session.run(
        "INSERT INTO collector (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (schema.EXPECTED, str(schema.VERSION)),
    )
    check_version(session)


def check_version(session: Session) -> None:
    """Raises:
    NeedsPerson: The tables are of another release.
    """
    found = session.rows("SELECT value FROM collector WHERE name = ?", (schema.EXPECTED,))
    if found != [(str(schema.VERSION),)]:
        raise NeedsPerson(
            "the store's tables are of another release of this program",
            hint="use the release that wrote it, or a newer",
        )
