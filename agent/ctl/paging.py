"""A list of the agent, page after page."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from agent.ctl.client import ControlClient

_PAGE = 50


class _RawPage(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw]
    next_cursor: str | None = None


def pages(
    agent: ControlClient, method: str, filters: Mapping[str, object], limit: int
) -> tuple[list[msgspec.Raw], bool]:
    """Up to ``limit`` items of a list, page after page; and whether there are more."""
    items: list[msgspec.Raw] = []
    cursor: str | None = None
    while True:
        params: dict[str, object] = {**filters, "limit": min(_PAGE, limit - len(items))}
        if cursor is not None:
            params["cursor"] = cursor
        page = agent.fetch(method, _RawPage, params)
        items += page.items
        cursor = page.next_cursor
        if cursor is None or not page.items or len(items) >= limit:
            return items[:limit], cursor is not None
