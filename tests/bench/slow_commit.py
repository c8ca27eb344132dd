"""Slow storage: every COMMIT of the process takes some milliseconds longer, as a terminal's eMMC would make it."""

from __future__ import annotations

import time
from typing import Any

from agent.store import sqlite


def install(delay_ms: float) -> None:
    """Make every connection that the store opens from now on take ``delay_ms`` longer for each COMMIT."""
    if delay_ms <= 0:
        return

    class SlowConnection(sqlite.Connection):
        def execute(self, sql: str, *args: Any) -> Any:
            result = super().execute(sql, *args)
            if sql == "COMMIT":
                time.sleep(delay_ms / 1000)
            return result

    sqlite.Connection = SlowConnection  # type: ignore[misc]
