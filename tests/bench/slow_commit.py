"""Slow storage: every COMMIT of the process takes some milliseconds longer, as a terminal's eMMC would make it."""

from __future__ import annotations

import time
from typing import Any

from agent.store import database


def install(delay_ms: float) -> None:
    """Make every connection that the store opens from now on sleep ``delay_ms`` before each COMMIT returns."""
    if delay_ms <= 0:
        return
    sqlite3: Any = database.sqlite3  # type: ignore[attr-defined]

    class Slow(sqlite3.Connection):  # type: ignore[misc]
        def execute(self, sql: str, *args: Any) -> Any:
            result = super().execute(sql, *args)
            if sql == "COMMIT":
                time.sleep(delay_ms / 1000)
            return result

        def commit(self) -> None:
            super().commit()
            time.sleep(delay_ms / 1000)

    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **kwargs: connect(*args, **{**kwargs, "factory": Slow})
