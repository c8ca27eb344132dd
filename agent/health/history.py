"""What health went through: every change of a device's state and every fault that came or went, in the store.

Written in the commit that makes the change true (``records.py``); answered page by page by ``health.history``. Bounded:
the newest `KEPT` entries stay, whatever the clock says. Left out: readings, which are never stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from agent.contract.health import HistoryEntry, HistoryKind, HistoryPage, Impact, PowerState, Severity, State
from agent.errors import BadRequest
from agent.runtime.clock import rfc3339
from agent.store.database import Connection, Database

KEPT: Final = 5_000

_KNOWN_KINDS: Final = f"kind IN ({', '.join(repr(kind.value) for kind in HistoryKind)})"  # a newer release may add some
_COLUMNS: Final = "at, kind, device, state, power_state, code, severity, impact, detail"

_INSERT: Final = (
    f"INSERT INTO health_history ({_COLUMNS}) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS"  # noqa: S608
    " (SELECT 1 FROM health_history WHERE at = ? AND kind = ? AND device = ? AND state IS ? AND code IS ?"
    " AND number > (SELECT max(number) FROM health_history) - 512)"
)


def append(db: Connection, entries: Sequence[HistoryEntry], *, kept: int = KEPT) -> None:
    """Add ``entries`` inside a transaction, and forget the oldest beyond ``kept``. A repeat adds nothing."""
    if not entries:
        return
    for one in entries:
        at_ms = _ms(one.at)
        same = (at_ms, one.kind.value, one.device, one.state, one.code)
        values = (*same[:4], one.power_state, one.code, one.severity, one.impact, one.detail)
        db.execute(_INSERT, (*values, *same))
    db.execute("DELETE FROM health_history WHERE number <= (SELECT max(number) FROM health_history) - ?", (kept,))


class HealthHistory:
    """The reading side."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, limit: int, cursor: str | None, device: str | None = None) -> HistoryPage:
        """The newest entries first, at most ``limit``; ``device``: of this one alone. An unknown one has none.

        Args:
            cursor: ``next_cursor`` of the page before.

        Raises:
            BadRequest: A cursor that no page gave.
            StoreUnavailable: The store cannot be read now.
        """
        before = None if cursor is None else _number(cursor)
        rows = await self._database.read(lambda db: _newest(db, limit + 1, before, device))
        following = str(rows[limit - 1][0]) if len(rows) > limit else None
        return HistoryPage(tuple(entry for _number, entry in rows[:limit]), following)


def _newest(db: Connection, limit: int, before: int | None, device: str | None) -> list[tuple[int, HistoryEntry]]:
    wanted: list[str] = [_KNOWN_KINDS]
    values: list[int | str] = []
    for condition, value in (("number < ?", before), ("device = ?", device)):
        if value is not None:
            wanted.append(condition)
            values.append(value)
    rows = db.execute(
        f"SELECT number, {_COLUMNS} FROM health_history WHERE {' AND '.join(wanted)} ORDER BY number DESC LIMIT ?",  # noqa: S608
        (*values, limit),
    )
    return [(number, _entry(columns)) for number, *columns in rows]


def _entry(columns: Sequence[Any]) -> HistoryEntry:
    at_ms, kind, device, state, power_state, code, severity, impact, detail = columns
    return HistoryEntry(
        at=rfc3339(datetime.fromtimestamp(at_ms / 1000, UTC)),
        kind=HistoryKind(kind),
        device=device,
        state=None if state is None else State(state),
        power_state=None if power_state is None else PowerState(power_state),
        code=code,
        severity=None if severity is None else Severity(severity),
        impact=None if impact is None else Impact(impact),
        detail=detail,
    )


def _ms(at: str) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000)


def _number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise BadRequest("not a cursor of the history of health", field="cursor", hint="send next_cursor as it came")
    return int(cursor)
