"""``posctl command run | cancel | show | list``: orders to this terminal, and what became of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from agent.ctl import answers
from agent.ctl.client import MAX_FRAME_BYTES, decode
from agent.ctl.exit_codes import Exit
from agent.ctl.following import exit_of, follow, note_unfinished
from agent.ctl.ordering import give, told
from agent.ctl.paging import pages
from agent.ctl.render.command import FINAL, operation_line, operation_lines, operation_table
from agent.ctl.screen import Screen
from agent.ctl.verb import Verb, client, command_id, count, seconds, socket_options
from agent.ctl.words import ARGUMENTS_HELP, read_arguments
from agent.errors import BadRequest
from agent.runtime.identifiers import uuid7

DEFAULT_LIMIT = 20
DEFAULT_CANCEL_S = 30.0


def _run(args: argparse.Namespace, screen: Screen) -> Exit:
    with client(args) as agent:
        raw, operation = give(agent, "command.run", _order(args), args.wait, screen)
    return told(raw, operation, args.wait, screen)


def _order(args: argparse.Namespace) -> dict[str, object]:
    if args.envelope is not None:
        if args.name or args.arguments or args.reason or args.command_id:
            raise BadRequest("--envelope carries the whole order: give no name, arguments, reason or id beside it")
        return {"envelope": _read_envelope(args.envelope)}
    if not args.name:
        raise BadRequest("which command?", hint="posctl command run NAME [name=value …], or --envelope FILE")
    order = {"command_id": args.command_id or uuid7(), "name": args.name, "arguments": read_arguments(args.arguments)}
    return {**order, "reason": args.reason} if args.reason is not None else order


def _read_envelope(path: Path) -> msgspec.Raw:
    """A signed order from a file, or from standard input where the file is ``-``."""
    try:
        if str(path) == "-":
            content = sys.stdin.buffer.read(MAX_FRAME_BYTES + 1)
        else:
            with path.open("rb") as file:
                content = file.read(MAX_FRAME_BYTES + 1)
    except OSError as err:
        raise BadRequest(f"cannot read the envelope: {err.strerror}", field="--envelope") from err
    try:
        return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(content, type=dict[str, object])))
    except msgspec.DecodeError as err:
        raise BadRequest("the envelope is not a JSON object (or longer than 64 KiB)", field="--envelope") from err


def _cancel(args: argparse.Namespace, screen: Screen) -> Exit:
    """Cancelling is an order of its own: it is waited for, and then the cancelled one tells how it ended."""
    with client(args) as agent:
        params = {"command_id": args.command_id}
        raw = agent.call("command.cancel", params)
        answer = decode(raw, answers.Operation, "command.cancel")
        if answer.command_id != args.command_id and answer.state not in FINAL:
            _raw, answer = follow(agent, answer, raw, args.wait, screen)
        cancelling = answer if answer.command_id != args.command_id else None
        raw = agent.call("command.get", params)
        target = decode(raw, answers.Operation, "command.get")
        if target.state not in FINAL and (cancelling is None or cancelling.state == "succeeded"):
            raw, target = follow(agent, target, raw, args.wait, screen)  # it ends at its next safe step
    if screen.as_json:
        screen.document(raw)
    else:
        screen.lines(operation_lines(target, screen.style))
    if cancelling is not None and cancelling.state not in {"succeeded", "cancelled"}:
        screen.note(f"the cancellation itself: {operation_line(cancelling)}")
        return exit_of(cancelling) if cancelling.state in FINAL else Exit.FAILED
    if target.state not in FINAL:
        return note_unfinished(target, args.wait, screen)
    if target.state != "cancelled":
        screen.note("it had come to its end before it could be cancelled")
    return Exit.DONE if target.state == "cancelled" else Exit.FAILED


def _show(args: argparse.Namespace, screen: Screen) -> Exit:
    with client(args) as agent:
        raw = agent.call("command.get", {"command_id": args.command_id})
    operation = decode(raw, answers.Operation, "command.get")
    if screen.as_json:
        screen.document(raw)
    else:
        screen.lines(operation_lines(operation, screen.style))
    return Exit.DONE


def _list(args: argparse.Namespace, screen: Screen) -> Exit:
    with client(args) as agent:
        items, more = pages(agent, "command.list", {}, args.limit)
    operations = [decode(item, answers.Operation, "command.list") for item in items]
    if screen.as_json:
        screen.document({"items": items, "more": more})
    else:
        screen.lines(operation_table(operations, screen.style))
        if more:
            screen.note(f"there are more: --limit {args.limit * 5}")
    return Exit.DONE


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    run = verbs.add_parser("run", help="order something of this terminal", epilog=ARGUMENTS_HELP)
    run.add_argument("name", nargs="?", metavar="NAME", help="for example ping, check_device")
    run.add_argument("arguments", nargs="*", metavar="name=value", help="its arguments")
    run.add_argument("--reason", metavar="TEXT", help="why, for the record")
    run.add_argument(
        "--command-id", type=command_id, metavar="ID", help="the id of an earlier try: the same id is the same order"
    )
    run.add_argument("--wait", type=seconds, metavar="SECONDS", help="wait for the end at most this long")
    run.add_argument(
        "--envelope", type=Path, metavar="FILE", help="a signed order carried in by hand; - is standard input"
    )
    socket_options(run, _run)
    show = verbs.add_parser("show", help="one command's state")
    show.add_argument("command_id", type=command_id, metavar="ID")
    socket_options(show, _show)
    cancel = verbs.add_parser("cancel", help="end an order that waits, or is at a step where ending is safe")
    cancel.add_argument("command_id", type=command_id, metavar="ID")
    cancel.add_argument(
        "--wait",
        type=seconds,
        default=DEFAULT_CANCEL_S,
        metavar="SECONDS",
        help=f"wait for the end at most this long ({DEFAULT_CANCEL_S:g})",
    )
    socket_options(cancel, _cancel)
    listing = verbs.add_parser("list", help="the latest commands")
    listing.add_argument("--limit", type=count, default=DEFAULT_LIMIT, metavar="N", help=f"at most N ({DEFAULT_LIMIT})")
    socket_options(listing, _list)


COMMAND = Verb("command", "orders: run, cancel, show, list", _add_arguments)
