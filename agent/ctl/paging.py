"""A list of the agent, page after page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from agent.ctl.client import CallFailed, ControlClient, decode

_PAGE = 50


class _RawPage(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw]
    next_cursor: str | None = None


def pages(
    agent: ControlClient, method: str, filters: Mapping[str, object], limit: int
) -> tuple[list[msgspec.Raw], bool]:
    """Up to ``limit`` items of a list, page after page; and whether there are more."""
    items: list[msgspec.Raw] = []
    more = False
    for raw in raw_pages(agent, method, filters, _PAGE, limit):
        page = decode(raw, _RawPage, method)
        items += page.items
        more = page.next_cursor is not None
    return items[:limit], more


def raw_pages(
    agent: ControlClient, method: str, filters: Mapping[str, object], page_size: int, limit: int | None = None
) -> Iterator[msgspec.Raw]:
    """The pages of a list as they were answered, until there are ``limit`` items or no more.

    A page may have fewer items than were asked for, even none, and go on all the same: where an agent has to search it
    answers in between.

    Raises:
        CallFailed: The list goes on where it was before.
    """
    cursor: str | None = None
    seen = 0
    while limit is None or seen < limit:
        params: dict[str, object] = {**filters, "limit": page_size if limit is None else min(page_size, limit - seen)}
        if cursor is not None:
            params["cursor"] = cursor
        raw = agent.call(method, params)
        yield raw
        page = decode(raw, _RawPage, method)
        seen += len(page.items)
        if page.next_cursor is None:
            return
        if page.next_cursor == cursor and not page.items:
            raise CallFailed(f"the agent's answer to {method} has no end", hint="update the agent, or posctl")
        cursor = page.next_cursor
