"""Which terminals of a site the broker knows: by what each of them left there, retained."""

from __future__ import annotations

import asyncio

from agent.contract import topics
from agent.errors import BadRequest
from agent.fleet.broker import Line
from agent.fleet.messages import origin

_QUIET_S = 1.0  # after the last retained message: brokers do not say which one is the last
_LONGEST_S = 30.0


async def known_terminals(link: Line, site: str) -> list[str]:
    """Every terminal with a status at the broker, in name order.

    Raises:
        BadRequest: There is none.
    """
    found: set[str] = set()
    await link.subscribe([topics.Address(site, "+").topic(topics.STATUS)])
    messages = link.messages()
    loop = asyncio.get_running_loop()
    end_s = loop.time() + _LONGEST_S
    try:
        while True:
            async with asyncio.timeout_at(min(end_s, loop.time() + _QUIET_S)):
                message = await anext(messages)
            where = origin(message.topic)
            if where is not None and message.payload:
                found.add(where.terminal)
    except TimeoutError:
        pass
    if not found:
        raise BadRequest(f"the broker knows no terminal of site {site}", field="--every", hint="is --site right?")
    return sorted(found)
