"""``posctl fleet send``: sign an order for each named terminal, publish it, and with ``--wait`` see it to its end."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from agent.contract.command import COMMAND_TYPE, Window
from agent.errors import BadRequest
from agent.fleet import batch as batches
from agent.fleet import orders
from agent.fleet.arguments import EXAMPLES, people_by_default
from agent.fleet.batch import Batch, BatchFile
from agent.fleet.broker import broker_options, connect
from agent.fleet.delivery import Delivery, Listener, SignedOrder
from agent.fleet.discovery import known_terminals
from agent.fleet.key_file import KeyFile, read_private
from agent.fleet.messages import FINAL, OperationState, describe_state
from agent.fleet.recipients import LIST_HELP, read_terminals, with_serials
from agent.fleet.report import dry_run, progress_text, report, report_sent
from agent.fleet.screen import ReadArguments, Screen
from agent.fleet.signing import sign
from agent.fleet.tally import Tally
from agent.runtime.identifiers import uuid7
from agent.trust.envelope import MAX_SIGNATURES

DEFAULT_LIFE = "1h"
DEFAULT_AT_ONCE = 100
_ABOUT = """\
Sign one order for each terminal and publish it. Every terminal's order has an id of its own, is never retained at the
broker, and must begin before it expires. With --wait every order is seen to its end; exit 0 only if all succeeded.
"""
_EPILOG = "\n".join(
    [
        "orders:",
        *(f"  {example}" for example in EXAMPLES),
        "",
        "for example:",
        "  posctl fleet send reset level=device device=printer-0 T-0001 T-0002 --wait 5m \\",
        "      --broker broker.example:8883 --ca ca.pem --site shop-1 --key li-wei.key.json",
        "  posctl fleet send check_device device=printer-0 level=internal @terminals.txt --batch monday.batch …",
        "  posctl fleet send --batch monday.batch …    goes on with it; nothing is ordered twice",
        "",
        "exit codes: 0 sent, with --wait all succeeded; 1 not all did; 2 wrong use; 3 no broker; 4 all refused",
    ]
)


def add_arguments(parser: argparse.ArgumentParser, read_arguments: ReadArguments) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = _ABOUT, _EPILOG
    broker_options(parser)
    parser.add_argument("name", nargs="?", metavar="COMMAND", help="what to do: ping, check_device, reset, …")
    parser.add_argument(
        "arguments", nargs="*", metavar="name=value | TERMINAL", help=f"its arguments; and to whom: {LIST_HELP}"
    )
    parser.add_argument(
        "--terminal", action="append", metavar="T", help="to whom, instead of TERMINAL words; _all: one order to all"
    )
    parser.add_argument("--every", action="store_true", help="every terminal of the site that the broker knows")
    parser.add_argument(
        "--key",
        action="append",
        required=True,
        type=Path,
        metavar="FILE",
        help="a private key; repeat it where two people must sign",
    )
    parser.add_argument("--reason", metavar="TEXT", help="why, for the record")
    parser.add_argument(
        "--expires", type=_life, metavar="LIFE", help=f"begin within, as 90s, 30m, 1h, 7d; 30d at most ({DEFAULT_LIFE})"
    )
    parser.add_argument("--window", type=_window, metavar="HH:MM-HH:MM", help="begin only then, in the terminal's time")
    parser.add_argument(
        "--serial",
        action="append",
        default=[],
        metavar="[T=]S",
        help="the hardware's serial, which reinit of a terminal, activate and switch_provider need",
    )
    parser.add_argument(
        "--command-id", metavar="ID", help="the id of an earlier try at one terminal, with the same words"
    )
    parser.add_argument(
        "--batch", type=Path, metavar="FILE", help="keep there what was ordered; a second run goes on with it"
    )
    parser.add_argument(
        "--wait", type=_life, metavar="TIME", help="see all to their end for at most this long, as 30s, 5m"
    )
    parser.add_argument(
        "--at-once",
        type=_count,
        default=DEFAULT_AT_ONCE,
        metavar="N",
        help=f"with --wait: at most N terminals at work at the same time ({DEFAULT_AT_ONCE})",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent to whom, and send nothing")
    parser.add_argument("--print", action="store_true", dest="print_only", help="print the signed orders, send nothing")
    parser.set_defaults(run=lambda args, screen: asyncio.run(_send(args, screen, read_arguments)))


async def _send(args: argparse.Namespace, screen: Screen, read_arguments: ReadArguments) -> int:
    orders.identity(args.site, "--site")
    keys = _keys(args.key)
    kept = batches.read(args.batch) if args.batch is not None else None
    batch = await _batch(args, read_arguments, kept)
    signed = [_signed(batch, recipient, keys) for recipient in batch.recipients]
    needed = people_by_default(batch.wish.name, batch.wish.arguments)
    if len({key.person for key in keys}) < needed:
        screen.note(f"by default {needed} people must sign this: --key twice; the terminals' policy decides")
    if args.dry_run:
        dry_run(batch, kept, [key.person for key in keys], screen)
        return 0
    if args.batch is not None and kept is None:
        kept = batches.create(args.batch, batch)
    if args.print_only:
        for order in signed:
            screen.json_line(msgspec.Raw(order.envelope))
        return 0
    return await _deliver(args, screen, batch, signed, kept)


async def _batch(args: argparse.Namespace, read_arguments: ReadArguments, kept: BatchFile | None) -> Batch:
    """What the words say, or the batch file, or both when they agree."""
    values = [word for word in args.arguments if "=" in word and not word.startswith("@")]
    words = [word for word in args.arguments if word not in values]
    if words and (args.terminal or args.every):
        raise BadRequest(
            "terminals are named in one way: as words, by --terminal, or by --every",
            field="TERMINAL",
            hint="an argument of the order is written name=value",
        )
    terminals = with_serials(read_terminals([*words, *(args.terminal or [])]), args.serial)
    if kept is not None:
        _compare(args, kept.batch, read_arguments(values), terminals)
        return kept.batch
    if args.name is None:
        raise BadRequest("which order?", hint="posctl fleet send COMMAND name=value … TERMINAL …")
    wish = orders.Wish(
        name=args.name,
        arguments=read_arguments(values),
        life=args.expires or orders.life(DEFAULT_LIFE),
        reason=args.reason,
        window=args.window,
    )
    if args.every:
        async with connect(args) as link:
            terminals = with_serials(dict.fromkeys(await known_terminals(link, args.site)), args.serial)
    if not terminals:
        raise BadRequest("to which terminals?", field="TERMINAL", hint=f"{LIST_HELP}; or --every")
    return batches.new_batch(args.site, wish, terminals, uuid7, args.command_id)


def _compare(
    args: argparse.Namespace, batch: Batch, arguments: dict[str, object], terminals: dict[str, str | None]
) -> None:
    """A batch file goes on as it was begun; whoever says something else means another batch."""
    wish = batch.wish
    said_and_kept: list[tuple[str, object, object]] = [
        ("--site", args.site, batch.site),
        ("COMMAND", args.name or wish.name, wish.name),
        ("name=value", arguments or wish.arguments, wish.arguments),
        ("--expires", args.expires or wish.life, wish.life),
        ("--reason", args.reason or wish.reason, wish.reason),
        ("--window", args.window or wish.window, wish.window),
        ("--command-id", args.command_id or batch.recipients[0].command_id, batch.recipients[0].command_id),
    ]
    if terminals:
        kept = {one.terminal: one.serial for one in batch.recipients}
        said_and_kept.append(("TERMINAL", terminals, kept))
    for field, said, was in said_and_kept:
        if said != was:
            raise BadRequest(
                "the batch file was begun with another order",
                field=field,
                hint="leave the order out to go on with it, or name a new file",
            )


def _keys(paths: Sequence[Path]) -> list[KeyFile]:
    keys = [read_private(path) for path in paths]
    if len({key.keyid for key in keys}) != len(keys) or len(keys) > MAX_SIGNATURES:
        raise BadRequest(f"each key once, at most {MAX_SIGNATURES}", field="--key")
    return keys


def _signed(batch: Batch, recipient: orders.Recipient, keys: list[KeyFile]) -> SignedOrder:
    payload = orders.order_for(batch.wish, recipient)
    return SignedOrder(recipient.terminal, recipient.command_id, sign(COMMAND_TYPE, payload, keys))


async def _deliver(
    args: argparse.Namespace, screen: Screen, batch: Batch, signed: Sequence[SignedOrder], kept: BatchFile | None
) -> int:
    tally = Tally(None if batch.whole_site else [one.terminal for one in batch.recipients])
    for terminal, ended in (kept.ended if kept is not None else {}).items():
        tally.take(terminal, ended)
    name, follow = batch.wish.name, args.wait is not None
    now = datetime.now(UTC)
    late = [one for one in signed if orders.issued_at_of(one.command_id) + batch.wish.life <= now]
    if late and (kept is None or not follow):
        raise BadRequest(
            "the order has expired: no terminal would take it any more",
            field="--command-id" if kept is None else "--batch",
            hint="give a new one" if kept is None else "with --wait TIME it is asked what became of it",
        )
    if late:
        screen.note("the batch has expired: nothing is sent any more, only what became of it is asked for")

    def sent(order: SignedOrder) -> None:
        if not screen.as_json:
            screen.line(f"{order.terminal}: sent {name} {order.command_id}")

    def heard(terminal: str, state: OperationState) -> None:
        if kept is not None and state.state in FINAL:
            kept.note(terminal, state)
        if not screen.as_json:
            said = describe_state(state)
            screen.line(f"{screen.plain(terminal)}: {screen.paint(screen.plain(said.text), said.tone)}")

    listener = Listener(
        sent=sent,
        state=heard,
        broken=lambda why: screen.note(f"{screen.plain(why)}; trying again"),
        progress=lambda: screen.progress(progress_text(tally, len(signed)) if follow else ""),
    )
    delivery = Delivery(
        args.site, name, signed, tally, listener, follow=follow, at_once=args.at_once, expired=bool(late)
    )
    if not tally.complete():
        limit_s = args.wait.total_seconds() if follow else None
        try:
            async with asyncio.timeout(limit_s):
                await delivery.run(lambda: connect(args))
        except TimeoutError:
            pass  # the tally says who did not come to an end
    screen.progress("")
    if not follow:
        return report_sent(batch, screen)
    return report(tally, batch, args.batch, screen)


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


def _count(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0
    if value < 1:
        raise argparse.ArgumentTypeError("a whole number from 1")
    return value
