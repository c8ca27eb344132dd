"""``posctl fleet send``: sign one order for each named terminal, publish it, and with ``--wait`` see it to its end."""

from __future__ import annotations

import argparse
import asyncio
from datetime import timedelta
from pathlib import Path

import msgspec

from agent.contract import topics
from agent.contract.command import COMMAND_TYPE, Window
from agent.errors import AgentError, BadRequest, Refused
from agent.fleet import orders
from agent.fleet.broker import Line, broker_options, connect
from agent.fleet.key_file import KeyFile, read_private
from agent.fleet.messages import describe_state, origin, read_state, reason_text, state_tone
from agent.fleet.screen import BAD, ReadArguments, Screen
from agent.fleet.signing import sign
from agent.fleet.tally import Outcome, Tally
from agent.runtime.identifiers import uuid7
from agent.trust.envelope import MAX_SIGNATURES

DEFAULT_LIFE = "1h"


class NotAllSucceeded(AgentError):
    """An order was sent, and did not succeed everywhere."""

    code = "NOT_ALL_SUCCEEDED"


class SomeRefused(Refused):
    """An order was sent; whoever did not succeed refused it."""

    code = "REFUSED_BY_TERMINAL"


def add_arguments(parser: argparse.ArgumentParser, read_arguments: ReadArguments) -> None:
    broker_options(parser)
    parser.add_argument(
        "--terminal",
        action="append",
        required=True,
        metavar="T",
        help="to whom; repeat it for several; _all is every terminal of the site",
    )
    parser.add_argument(
        "--key",
        action="append",
        required=True,
        type=Path,
        metavar="FILE",
        help="a private key; repeat it for two people",
    )
    parser.add_argument("name", metavar="NAME", help="for example ping, check_device, reset")
    parser.add_argument("arguments", nargs="*", metavar="name=value", help="arguments of the order")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the record")
    parser.add_argument(
        "--expires",
        type=_life,
        default=DEFAULT_LIFE,
        metavar="LIFE",
        help=f"start within, as 90s, 30m, 1h, 7d ({DEFAULT_LIFE})",
    )
    parser.add_argument("--window", type=_window, metavar="HH:MM-HH:MM", help="start only then, in the terminal's time")
    parser.add_argument("--serial", metavar="S", help="the hardware's serial, where the order needs it; one terminal")
    parser.add_argument(
        "--command-id", metavar="ID", help="the id of an earlier try, with the same words: sends it again"
    )
    parser.add_argument(
        "--wait", type=_life, metavar="TIME", help="see it to its end for at most this long, as 30s, 5m"
    )
    parser.add_argument(
        "--print", action="store_true", dest="print_only", help="print the signed orders and send nothing"
    )
    parser.set_defaults(run=lambda args, screen: _send(args, screen, read_arguments))


def _send(args: argparse.Namespace, screen: Screen, read_arguments: ReadArguments) -> int:
    terminals = list(dict.fromkeys(_terminal(text) for text in args.terminal))
    orders.identity(args.site, "--site")
    if args.serial is not None and (len(terminals) > 1 or terminals == [orders.EVERY_TERMINAL]):
        raise BadRequest("a serial belongs to one terminal", field="--serial")
    if orders.EVERY_TERMINAL in terminals and len(terminals) > 1:
        raise BadRequest("_all is every terminal of the site: name no other beside it", field="--terminal")
    keys = [read_private(path) for path in args.key]
    if len({key.keyid for key in keys}) != len(keys) or len(keys) > MAX_SIGNATURES:
        raise BadRequest(f"each key once, at most {MAX_SIGNATURES}", field="--key")
    wish = orders.Wish(
        command_id=args.command_id or uuid7(),
        name=args.name,
        arguments=read_arguments(args.arguments),
        life=args.expires,
        reason=args.reason,
        serial=args.serial,
        window=args.window,
    )
    envelopes = {terminal: _signed(orders.order_for(wish, terminal), keys) for terminal in terminals}
    if args.print_only:
        for envelope in envelopes.values():
            screen.json_line(msgspec.Raw(envelope))
        return 0
    return asyncio.run(_publish_and_follow(args, screen, wish, envelopes))


def _signed(payload: bytes, keys: list[KeyFile]) -> bytes:
    return sign(COMMAND_TYPE, payload, keys)


async def _publish_and_follow(
    args: argparse.Namespace, screen: Screen, wish: orders.Wish, envelopes: dict[str, bytes]
) -> int:
    everyone = orders.EVERY_TERMINAL in envelopes
    tally = Tally(None if everyone else envelopes)
    async with connect(args) as link:
        if args.wait is not None:
            who = ["+"] if everyone else list(envelopes)
            below = topics.operation(wish.name, wish.command_id)
            await link.subscribe([topics.Address(args.site, terminal).topic(below) for terminal in who])
        for terminal, envelope in envelopes.items():
            await link.publish(topics.Address(args.site, terminal).topic(topics.request(wish.name)), envelope)
            if not screen.as_json:
                screen.line(f"{terminal}: sent {wish.name} {wish.command_id}")
        if args.wait is None:
            if screen.as_json:
                screen.document({"command_id": wish.command_id, "name": wish.name, "sent": list(envelopes)})
            return 0
        try:
            async with asyncio.timeout(args.wait.total_seconds()):
                await _follow(link, tally, wish, screen)
        except TimeoutError:
            pass  # the tally says who did not come to an end
    return _report(tally, wish, screen)


async def _follow(link: Line, tally: Tally, wish: orders.Wish, screen: Screen) -> None:
    """Take states until everyone has come to an end."""
    async for message in link.messages():
        where = origin(message.topic)
        state = read_state(message.payload)
        if where is None or state is None or state.command_id != wish.command_id or state.name != wish.name:
            continue
        if tally.take(where.terminal, state) and not screen.as_json:
            said = describe_state(state)
            screen.line(f"{where.terminal}: {screen.paint(screen.plain(said.text), said.tone)}")
        if tally.complete():
            return


def _report(tally: Tally, wish: orders.Wish, screen: Screen) -> int:
    rows = tally.rows()
    outcome = tally.outcome()
    if screen.as_json:
        terminals = [{"terminal": terminal, "state": state} for terminal, state in rows]
        screen.document(
            {"command_id": wish.command_id, "name": wish.name, "outcome": outcome.value, "terminals": terminals}
        )
        return {Outcome.SUCCEEDED: 0, Outcome.REFUSED: 4, Outcome.FAILED: 1}[outcome]
    cells = [
        [
            (terminal, ""),
            (state.state, state_tone(state.state)) if state else ("no answer", BAD),
            (reason_text(state) if state else "", ""),
        ]
        for terminal, state in rows
    ]
    screen.line("")
    screen.table(["terminal", "state", "reason"], cells, 2)
    if outcome is Outcome.SUCCEEDED:
        return 0
    again = f"the same order again: --command-id {wish.command_id} and the same words"
    if outcome is Outcome.REFUSED:
        raise SomeRefused("the order was refused", hint="the reason is in the table")
    if any(state is None for _terminal, state in rows):
        raise NotAllSucceeded(
            "not every terminal answered: it is offline, or takes neither signature nor target and then says nothing",
            hint=f"posctl fleet watch shows who is online; {again}",
        )
    raise NotAllSucceeded("the order did not succeed everywhere within the time", hint=again)


def _terminal(text: str) -> str:
    return text if text == orders.EVERY_TERMINAL else orders.identity(text, "--terminal")


def _life(text: str) -> timedelta:
    try:
        return orders.life(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def _window(text: str) -> Window:
    try:
        return orders.window(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err
