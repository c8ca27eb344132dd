"""``posctl fleet watch``: what the terminals of a site publish, as it comes; retained messages first."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime

import msgspec

from agent.contract import topics
from agent.errors import Unavailable
from agent.fleet import orders
from agent.fleet.broker import Message, broker_options, connect, seconds
from agent.fleet.messages import describe, origin
from agent.fleet.screen import DIM, ReadArguments, Screen

_BELOW = ("agent/status", "agent/birth", "agent/readiness", "agent/faults", "agent/e/+", "agent/op/+/+", "dev/+/health")

_RETRY_S = 1.0


def add_arguments(parser: argparse.ArgumentParser, _read_arguments: ReadArguments) -> None:
    broker_options(parser)
    parser.add_argument("--terminal", action="append", metavar="T", help="only this one; repeat it for several")
    parser.add_argument("--for", type=seconds, dest="for_s", metavar="SECONDS", help="end by itself after so long")
    parser.set_defaults(run=_watch)


def _watch(args: argparse.Namespace, screen: Screen) -> int:
    orders.identity(args.site, "--site")
    who = [orders.identity(text, "--terminal") for text in args.terminal or []] or ["+"]
    filters = [topics.Address(args.site, terminal).topic(below) for terminal in who for below in _BELOW]
    try:
        asyncio.run(_show(args, screen, filters))
    except KeyboardInterrupt:
        return 0  # watching has no other end
    return 0


async def _show(args: argparse.Namespace, screen: Screen, filters: list[str]) -> None:
    """Print until the time given is over; a broker that goes away later on is waited for."""
    loop = asyncio.get_running_loop()
    end_s: float | None = None
    seen = False
    while True:
        try:
            async with connect(args) as link:
                await link.subscribe(filters)
                if not seen and args.for_s is not None:
                    end_s = loop.time() + args.for_s
                elif not seen and not screen.as_json:
                    screen.note(f"watching site {args.site}; Ctrl-C ends it")
                seen = True
                async with asyncio.timeout_at(end_s):
                    async for message in link.messages():
                        _print(message, screen)
        except TimeoutError:
            return
        except Unavailable as err:
            if not seen:
                raise
            screen.note(f"{screen.plain(err.message)}; trying again every {_RETRY_S:g} s")
        if end_s is not None and loop.time() + _RETRY_S >= end_s:
            return
        await asyncio.sleep(_RETRY_S)


def _print(message: Message, screen: Screen) -> None:
    where = origin(message.topic)
    if where is None:
        return
    now = datetime.now(UTC)
    if screen.as_json:
        at = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"at": at, "topic": message.topic, "retained": message.retained, "payload": _json(message.payload)}
        screen.json_line(line)
        return
    said = describe(where.below, message.payload)
    if said is not None:
        text = screen.paint(screen.plain(said.text), said.tone)
        time = screen.paint("retained" if message.retained else screen.local(now)[11:], DIM)
        screen.line(f"{time}  {screen.plain(where.terminal)}  {screen.plain(said.about)}  {text}")


def _json(payload: bytes) -> object:
    """The payload as JSON where it is JSON; else what can be said of it."""
    if not payload:
        return None
    try:
        return msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return {"unreadable_bytes": len(payload)}
