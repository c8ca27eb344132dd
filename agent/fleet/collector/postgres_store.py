"""The collector's store on a PostgreSQL server (psycopg 3): several collectors on several machines may share it.

Rows of journals are locked in the order of their ids, so collectors that meet at a journal wait for each other and
never deadlock; entries go in by COPY. A server that went away is connected to again by the next transaction.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any, Final

from agent.errors import AgentError, BadRequest, NeedsPerson, StoreFull, StoreUnavailable
from agent.fleet.collector import schema
from agent.fleet.collector.database import Parameters, Row, make_tables

if importlib.util.find_spec("psycopg") is None:
    raise BadRequest(
        "a PostgreSQL store needs psycopg", field="--store", hint="pip install 'pos-agent[collector]', or use SQLite"
    )
import psycopg
from psycopg import conninfo, errors, pq

_WORDS: Final = {
    "serial": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "integer": "BIGINT",
    "bytes": "BYTEA",
}
_TABLES_LOCK: Final = 7_062_026  # an advisory lock: two collectors that start at once make the tables one by one
_CONNECT_S: Final = 10
_IDLE_S = 60
"""A collector that stops in mid-transaction (its machine is frozen, or cut off) holds rows that others wait for."""
_KEEPALIVE: Final = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
"""Seconds, and ms: without them a server whose machine lost power is waited for, for hours. The URI's own go first."""
_STREAM_ROWS: Final = 2_000


class PostgresStore:
    """A server that is there; its tables are made when they are not.

    Args:
        where: A connection URI; what it leaves out comes from ``PG…`` variables and ``~/.pgpass``.

    Raises:
        StoreUnavailable: It does not answer.
        NeedsPerson: It does not flush its commits, or the tables are of another release.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._connection: psycopg.Connection[Row] | None = None
        try:
            with self.transaction() as session:
                self._prepare(session)
        except AgentError:
            self.close()
            raise

    def _prepare(self, session: PostgresSession) -> None:
        for name in ("fsync", "full_page_writes"):
            if session.rows("SELECT current_setting(?)", (name,)) != [("on",)]:
                raise NeedsPerson(
                    f"the PostgreSQL server runs with {name} = off: what it confirms can be lost",
                    hint=f"set {name} = on; a collector signs only for what is durable",
                )
        session.run("SELECT pg_advisory_xact_lock(?)", (_TABLES_LOCK,))
        make_tables(session, (statement.format_map(_WORDS) for statement in schema.TABLES))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[PostgresSession]:
        with self._translated(), self._begun("BEGIN ISOLATION LEVEL READ COMMITTED") as session:
            yield session

    @contextlib.contextmanager
    def reading(self) -> Iterator[PostgresSession]:
        with self._translated(), self._begun("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") as session:
            yield session

    @contextlib.contextmanager
    def _begun(self, begin: str) -> Iterator[PostgresSession]:
        """A transaction whose COMMIT is the server's own word, on a connection that has nothing else under way.

        Not psycopg's ``transaction()``: where it finds one open it makes a savepoint of itself, and a COMMIT that the
        server answers with ROLLBACK passes for one.
        """
        connection, is_done = self._connected(), False
        try:
            connection.execute(begin)
            yield PostgresSession(connection)
            said = connection.execute("COMMIT").statusmessage
            if said != "COMMIT" or connection.info.transaction_status != pq.TransactionStatus.IDLE:
                raise psycopg.OperationalError(f"the transaction was not committed: {said}")
            is_done = True
        finally:
            if not is_done:
                connection.close()  # whatever it was in the middle of ends there; the next one gets a fresh connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _connected(self) -> psycopg.Connection[Row]:
        if self._connection is None or self._connection.closed:
            named = conninfo.conninfo_to_dict(self._where)
            ours: dict[str, Any] = {name: value for name, value in _KEEPALIVE.items() if name not in named}
            self._connection = psycopg.connect(
                self._where,
                autocommit=True,
                connect_timeout=_CONNECT_S,
                application_name="pos-agent collector",
                **ours,
            )
            for name, value in (
                ("synchronous_commit", "on"),
                ("idle_in_transaction_session_timeout", f"{_IDLE_S}s"),
                ("tcp_keepalives_idle", "15"),
                ("tcp_keepalives_interval", "5"),
                ("tcp_keepalives_count", "3"),
            ):
                self._connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        return self._connection

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except errors.DiskFull as err:
            raise StoreFull("the PostgreSQL server has no space", hint="nothing is lost: terminals keep it") from err
        except (
            errors.InsufficientPrivilege,
            errors.InvalidCatalogName,
            errors.InvalidAuthorizationSpecification,
        ) as err:
            raise NeedsPerson(f"the PostgreSQL server does not let the collector in: {_said(err)}") from err
        except psycopg.Error as err:
            raise StoreUnavailable(f"the PostgreSQL server: {_said(err)}") from err


class PostgresSession:
    """See `agent.fleet.collector.database.Session`."""

    lock = " FOR UPDATE"

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        return self._connection.execute(_sql(sql), parameters).fetchall()

    def run(self, sql: str, parameters: Parameters = ()) -> None:
        self._connection.execute(_sql(sql), parameters)

    def run_many(self, sql: str, rows: Sequence[Parameters]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_sql(sql), rows)

    def insert_bulk(self, table: str, columns: Sequence[str], rows: Sequence[Parameters]) -> None:
        statement = _sql(f"COPY {table} ({', '.join(columns)}) FROM STDIN")
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)

    def among(self, column: str, values: Sequence[int]) -> tuple[str, object]:
        return f"{column} = ANY(?)", list(values)

    def stream(self, sql: str, parameters: Parameters = ()) -> Iterator[Row]:
        with self._connection.cursor(name="long_answer") as cursor:
            cursor.itersize = _STREAM_ROWS
            cursor.execute(_sql(sql), parameters)
            yield from cursor


def _sql(text: str) -> Any:
    """Statements of this package hold no ``%`` and no ``?`` but placeholders."""
    return text.replace("?", "%s")


def _said(err: psycopg.Error) -> str:
    """The server's own words without values: its detail may show a row."""
    return (err.diag.message_primary or str(err)).partition("\n")[0]
