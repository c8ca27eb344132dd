"""``posctl command run | show | list``: orders to this terminal, and what became of them."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

import msgspec

from agent.ctl import answers
from agent.ctl.client import MAX_FRAME_BYTES, AgentUnreachable, ControlClient, decode
from agent.ctl.exit_codes import Exit
from agent.ctl.render.command import FINAL, operation_line, operation_lines, operation_table
from agent.ctl.screen import Screen
from agent.ctl.verb import Verb, client, count, seconds, socket_options
from agent.ctl.words import ARGUMENTS_HELP, read_arguments
from agent.errors import BadRequest
from agent.runtime.identifiers import uuid7

DEFAULT_LIMIT = 20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_COMMAND_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")


def _run(args: argparse.Namespace, screen: Screen) -> Exit:
    params = _order(args)
    command_id = params.get("command_id")
    with client(args) as agent:
        try:
            raw = agent.call("command.run", params)
        except AgentUnreachable as err:
            if command_id and err.facts.get("sent"):
                screen.note(f"whether the order was taken is not known; ask again with --command-id {command_id}")
            raise
        operation = decode(raw, answers.Operation, "command.run")
        if args.wait is not None and operation.state not in FINAL:
            if not screen.as_json:
                screen.line(operation_line(operation))
            raw, operation = _wait(agent, operation, raw, args.wait, screen)
    if screen.as_json:
        screen.document(raw)
    else:
        screen.lines(operation_lines(operation, screen.style))
    if operation.state not in FINAL and args.wait is None:
        screen.note(f"see how it goes: posctl command show {operation.command_id}")
    elif operation.state not in FINAL:
        screen.note(
            f"not finished after {args.wait:g} s; the order goes on: posctl command show {operation.command_id}"
        )
        return Exit.FAILED
    return _exit(operation)


def _exit(operation: answers.Operation) -> Exit:
    match operation.state:
        case "rejected":
            return Exit.REFUSED
        case "succeeded":
            return Exit.DONE
        case state if state in FINAL:
            return Exit.FAILED
        case _:
            return Exit.DONE


def _order(args: argparse.Namespace) -> dict[str, object]:
    if args.envelope is not None:
        if args.name or args.arguments or args.reason or args.command_id:
            raise BadRequest("--envelope carries the whole order: give no name, arguments, reason or id beside it")
        return {"envelope": _read_envelope(args.envelope)}
    if not args.name:
        raise BadRequest("which command?", hint="posctl command run NAME [name=value …], or --envelope FILE")
    command_id = args.command_id or uuid7()
    if not _COMMAND_ID.fullmatch(command_id):
        raise BadRequest("not an id: letters, digits, - and _, at most 64", field="--command-id")
    order = {"command_id": command_id, "name": args.name, "arguments": read_arguments(args.arguments)}
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


def _wait(
    agent: ControlClient, operation: answers.Operation, raw: msgspec.Raw, wait_s: float, screen: Screen
) -> tuple[msgspec.Raw, answers.Operation]:
    """Ask until the state is final or ``wait_s`` have passed; the agent may restart meanwhile (some orders say so)."""
    deadline_s = time.monotonic() + wait_s
    pause_s = _FIRST_PAUSE_S
    silent = False
    while operation.state not in FINAL:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            break
        time.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
        try:
            raw = agent.call("command.get", {"command_id": operation.command_id})
        except AgentUnreachable as err:
            if time.monotonic() >= deadline_s:
                raise
            if not silent:
                screen.note(f"{err.message}; still waiting")
            silent = True
            continue
        silent = False
        latest = decode(raw, answers.Operation, "command.get")
        if latest.rev != operation.rev and latest.state not in FINAL and not screen.as_json:
            screen.line(operation_line(latest))
        operation = latest
    return raw, operation


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
        raw = agent.call("command.list", {"limit": min(args.limit, 100)})
    page = decode(raw, answers.OperationPage, "command.list")
    if screen.as_json:
        screen.document(raw)
    else:
        screen.lines(operation_table(page.items, screen.style))
    return Exit.DONE


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    run = verbs.add_parser("run", help="order something of this terminal", epilog=ARGUMENTS_HELP)
    run.add_argument("name", nargs="?", metavar="NAME", help="for example ping, check_device")
    run.add_argument("arguments", nargs="*", metavar="name=value", help="its arguments")
    run.add_argument("--reason", metavar="TEXT", help="why, for the record")
    run.add_argument("--command-id", metavar="ID", help="the id of an earlier try: the same id is the same order")
    run.add_argument("--wait", type=seconds, metavar="SECONDS", help="wait for the end at most this long")
    run.add_argument(
        "--envelope", type=Path, metavar="FILE", help="a signed order carried in by hand; - is standard input"
    )
    socket_options(run, _run)
    show = verbs.add_parser("show", help="one command's state")
    show.add_argument("command_id", metavar="ID")
    socket_options(show, _show)
    listing = verbs.add_parser("list", help="the latest commands")
    listing.add_argument("--limit", type=count, default=DEFAULT_LIMIT, metavar="N", help=f"at most N ({DEFAULT_LIMIT})")
    socket_options(listing, _list)


COMMAND = Verb("command", "orders: run, show, list", _add_arguments)
