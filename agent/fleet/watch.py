"""``posctl fleet watch``: what terminals publish, as it comes; retained messages first, and who is silent."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from datetime import UTC, datetime

import msgspec

from agent.contract import topics
from agent.errors import BadRequest, Unavailable
from agent.fleet import orders
from agent.fleet.broker import Line, Message, broker_options, connect, seconds
from agent.fleet.messages import describe, origin
from agent.fleet.recipients import LIST_HELP, read_terminals
from agent.fleet.roster import Roster, Row
from agent.fleet.screen import BAD, DIM, GOOD, WARN, ReadArguments, Screen

_BELOW = ("agent/status", "agent/birth", "agent/readiness", "agent/faults", "agent/e/+", "agent/op/+/+", "dev/+/health")
_RETRY_S = 1.0
_LISTEN_S = 2.0  # so long retained messages have to come in before somebody counts as silent
_FILTERS_AT_ONCE = 50
_ABOUT = """\
Show what terminals publish, a line a message: whether they are online, can sell, what is wrong, how orders go. What
the broker kept comes first, so offline terminals are shown, too; terminals that come later join by themselves. At the
end a table of all. With --json one document a line.
"""
_EPILOG = """\
for example: posctl fleet watch T-0001 T-0002 --broker broker.example:8883 --ca ca.pem --site shop-1
Without TERMINAL: the whole site. Ctrl-C or --for ends it; exit 0. A broker that goes away is waited for.
"""


def add_arguments(parser: argparse.ArgumentParser, _read_arguments: ReadArguments) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = _ABOUT, _EPILOG
    broker_options(parser)
    parser.add_argument("terminals", nargs="*", metavar="TERMINAL", help=f"only these: {LIST_HELP}")
    parser.add_argument("--terminal", action="append", metavar="T", help="only this one; repeat it for several")
    parser.add_argument("--for", type=seconds, dest="for_s", metavar="SECONDS", help="end by itself after so long")
    parser.set_defaults(run=_watch)


def _watch(args: argparse.Namespace, screen: Screen) -> int:
    orders.identity(args.site, "--site")
    named = list(read_terminals([*args.terminals, *(args.terminal or [])]))
    if orders.EVERY_TERMINAL in named:
        raise BadRequest("no TERMINAL at all is the whole site", field="TERMINAL")
    watching = _Watching(args, screen, named)
    with contextlib.suppress(KeyboardInterrupt):  # watching has no other end
        asyncio.run(watching.run())
    watching.sum_up()
    return 0


class _Watching:
    def __init__(self, args: argparse.Namespace, screen: Screen, named: list[str]) -> None:
        self._args, self._screen = args, screen
        self._roster = Roster(named)
        self._filters = [
            topics.Address(args.site, terminal).topic(below) for terminal in named or ["+"] for below in _BELOW
        ]
        self._seen = False
        self._told_silent: set[str] = set()

    async def run(self) -> None:
        """Print until the time given is over; a broker that goes away later on is waited for."""
        loop = asyncio.get_running_loop()
        end_s: float | None = None
        while True:
            try:
                async with connect(self._args) as link:
                    for begin in range(0, len(self._filters), _FILTERS_AT_ONCE):
                        await link.subscribe(self._filters[begin : begin + _FILTERS_AT_ONCE])
                    if not self._seen:
                        self._begin()
                        end_s = None if self._args.for_s is None else loop.time() + self._args.for_s
                    await self._show(link, end_s)
                    return
            except Unavailable as err:
                if not self._seen:
                    raise
                self._screen.note(f"{self._screen.plain(err.message)}; trying again every {_RETRY_S:g} s")
            if end_s is not None and loop.time() + _RETRY_S >= end_s:
                return
            await asyncio.sleep(_RETRY_S)

    def _begin(self) -> None:
        self._seen = True
        if not self._screen.as_json and self._args.for_s is None:
            self._screen.note(f"watching site {self._args.site}; Ctrl-C ends it")

    async def _show(self, link: Line, end_s: float | None) -> None:
        loop = asyncio.get_running_loop()
        handle = loop.call_later(_LISTEN_S, self._tell_silent)
        try:
            async with asyncio.timeout_at(end_s):
                async for message in link.messages():
                    self._take(message)
        except TimeoutError:
            self._tell_silent()
        finally:
            handle.cancel()

    def _take(self, message: Message) -> None:
        where = origin(message.topic)
        if where is None:
            return
        new = self._roster.take(where.terminal, where.below, message.payload)
        if message.retained and not new:
            return  # a new link to the broker brings again what was shown
        now = datetime.now(UTC)
        if self._screen.as_json:
            self._json(message.topic, now, retained=message.retained, payload=_json(message.payload))
            return
        said = describe(where.below, message.payload)
        if said is not None:
            self._line("retained" if message.retained else now, where.terminal, said.about, said.text, said.tone)

    def _tell_silent(self) -> None:
        """Named terminals of which nothing came: they were never at this broker, or under another name."""
        silent = [name for name in self._roster.unheard() if name not in self._told_silent]
        self._told_silent.update(silent)
        for terminal in silent:
            if self._screen.as_json:
                topic = topics.Address(self._args.site, terminal).topic(topics.STATUS)
                self._json(topic, datetime.now(UTC), retained=False, payload=None, heard=False)
            else:
                self._line(datetime.now(UTC), terminal, "status", "never heard of at this broker", BAD)

    def _line(self, at: datetime | str, terminal: str, about: str, text: str, tone: str) -> None:
        screen = self._screen
        time = screen.paint(at if isinstance(at, str) else screen.local(at)[11:], DIM)
        painted = screen.paint(screen.plain(text), tone)
        screen.line(f"{time}  {screen.plain(terminal)}  {screen.plain(about)}  {painted}")

    def _json(self, topic: str, at: datetime, **facts: object) -> None:
        self._screen.json_line(
            {"at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "topic": topic, **facts}
        )

    def sum_up(self) -> None:
        """A table of all terminals, for people."""
        rows = self._roster.rows()
        if self._screen.as_json or not self._seen or not rows:
            return
        self._screen.line("")
        self._screen.table(["terminal", "link", "can sell", "faults", "open orders"], [_cells(row) for row in rows], 3)


def _cells(row: Row) -> list[tuple[str, str]]:
    link_tone = {"online": GOOD, "offline": BAD}.get(row.link, WARN)
    ready_tone = {"ready": GOOD, "not ready": BAD}.get(row.ready, WARN)
    faults, open_orders = ", ".join(row.faults) or "none", ", ".join(row.orders) or "none"
    return [
        (row.terminal, ""),
        (row.link, link_tone),
        (row.ready, ready_tone),
        (faults, WARN if row.faults else ""),
        (open_orders, ""),
    ]


def _json(payload: bytes) -> object:
    """The payload as JSON where it is JSON; else what can be said of it."""
    if not payload:
        return None
    try:
        return msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return {"unreadable_bytes": len(payload)}
