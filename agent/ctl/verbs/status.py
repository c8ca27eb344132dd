"""``posctl status``, ``health``, ``ready``: how is this terminal, on one screen."""

from __future__ import annotations

import argparse

from msgspec import structs

from agent.ctl import answers, snapshot
from agent.ctl.advice import advice
from agent.ctl.client import decode
from agent.ctl.exit_codes import Exit
from agent.ctl.paging import pages
from agent.ctl.render.status import (
    checked_lines,
    device_lines,
    fault_lines,
    history_lines,
    readiness_lines,
    status_lines,
)
from agent.ctl.screen import Screen
from agent.ctl.verb import Verb, client, count, device_name, socket_options
from agent.errors import NotFound

DEFAULT_LIMIT = 20


def _status(args: argparse.Namespace, screen: Screen) -> Exit:
    with client(args) as agent:
        now = snapshot.fetch(agent)
    if screen.as_json:
        known = {name: value for name, value in structs.asdict(now.copies).items() if value is not None}
        screen.document({**now.document, **({"copies": known} if known else {})})
    else:
        facts = (now.info, now.health, now.readiness, now.operations)
        screen.lines(status_lines(*facts, advice=advice, style=screen.style, copies=now.copies))
    return Exit.DONE


def _health(args: argparse.Namespace, screen: Screen) -> Exit:
    if args.history:
        return _history(args, screen)
    with client(args) as agent:
        raw = agent.call("health.get")
    health = decode(raw, answers.Health, "health.get")
    if args.device is None:
        if screen.as_json:
            screen.document(raw)
        else:
            screen.lines([*device_lines(health.devices, screen.style), ""])
            screen.lines(fault_lines(health.faults, advice, screen.style))
        return Exit.DONE
    device = next((one for one in health.devices if one.device == args.device), None)
    faults = [fault for fault in health.faults if fault.device == args.device]
    if device is None:
        names = ", ".join(sorted(one.device for one in health.devices)) or "none"
        raise NotFound("this terminal has no device of that name", hint=f"it has: {names}")
    if screen.as_json:
        screen.document({"device": device, "faults": faults, "at": health.at})
    else:
        screen.lines(checked_lines(device, faults, advice, screen.style))
    return Exit.DONE


def _history(args: argparse.Namespace, screen: Screen) -> Exit:
    filters = {} if args.device is None else {"device": args.device}
    with client(args) as agent:
        items, more = pages(agent, "health.history", filters, args.limit)
    changes = [decode(item, answers.HealthChange, "health.history") for item in items]
    if screen.as_json:
        screen.document({"items": items, "more": more})
    else:
        screen.lines(history_lines(changes, screen.style))
        if more:
            screen.note(f"there are more: --limit {args.limit * 5}")
    return Exit.DONE


def _ready(args: argparse.Namespace, screen: Screen) -> Exit:
    with client(args) as agent:
        raw = agent.call("readiness.get")
    readiness = decode(raw, answers.Readiness, "readiness.get")
    if screen.as_json:
        screen.document(raw)
    else:
        screen.lines(readiness_lines(readiness, screen.style))
    return Exit.DONE if readiness.ready else Exit.FAILED


def _health_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", nargs="?", type=device_name, metavar="DEVICE", help="only this one")
    parser.add_argument("--history", action="store_true", help="how it was: every change that is still kept")
    parser.add_argument(
        "--limit", type=count, default=DEFAULT_LIMIT, metavar="N", help=f"with --history: at most N ({DEFAULT_LIMIT})"
    )
    socket_options(parser, _health)


STATUS = Verb("status", "everything at a glance", lambda parser: socket_options(parser, _status))
HEALTH = Verb("health", "every device and every active fault, or one device, or how they were", _health_arguments)
READY = Verb(
    "ready",
    "can this terminal sell? exit 0 if it can, 1 with reasons if not",
    lambda parser: socket_options(parser, _ready),
)
