"""What every verb of ``posctl`` is made of, and the options that all of them take."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agent.ctl.client import DEFAULT_SOCKET, DEFAULT_TIMEOUT_S, SOCKET_VARIABLE, ControlClient
from agent.ctl.exit_codes import Exit
from agent.ctl.screen import Screen
from agent.ctl.times import TIME_HELP, read_time

Run = Callable[[argparse.Namespace, Screen], Exit]
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
MAX_SECONDS = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Verb:
    """One line of ``catalog.py``: ``add_arguments`` fills the verb's parser and sets ``run`` as its default."""

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]


def socket_options(parser: argparse.ArgumentParser, run: Run) -> None:
    """``--json``, ``--socket``, ``--timeout``, and what runs the verb."""
    parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON, times as RFC 3339")
    parser.add_argument(
        "--socket",
        type=Path,
        default=Path(os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET),
        metavar="PATH",
        help=f"the agent's control socket ({SOCKET_VARIABLE}, else {DEFAULT_SOCKET})",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=DEFAULT_TIMEOUT_S,
        metavar="SECONDS",
        help=f"how long the agent may take for one answer ({DEFAULT_TIMEOUT_S:g})",
    )
    parser.set_defaults(run=run)


def client(args: argparse.Namespace, waiting: Callable[[float], None] = lambda _elapsed_s: None) -> ControlClient:
    """The agent that ``--socket`` names; ``waiting`` as `ControlClient` takes it."""
    return ControlClient(args.socket, args.timeout, waiting=waiting)


def seconds(text: str) -> float:
    """An argument in seconds, more than zero and finite."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"a number of seconds from more than 0 to {MAX_SECONDS:.0f}")
    return value


def count(text: str) -> int:
    """An argument that counts things, 1 to 100,000."""
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0
    if not 1 <= value <= 100_000:
        raise argparse.ArgumentTypeError("a whole number from 1 to 100000")
    return value


def moment(*, end: bool) -> Callable[[str], datetime]:
    """An argument that is a point in time; see `agent.ctl.times`."""

    def read(text: str) -> datetime:
        at = read_time(text, end=end)
        if at is None:
            raise argparse.ArgumentTypeError(TIME_HELP)
        return at

    return read


def device_name(text: str) -> str:
    """An argument that names a device."""
    if not _ID.fullmatch(text):
        raise argparse.ArgumentTypeError("a device's name: letters, digits, - and _ (posctl health lists them)")
    return text


def place_name(text: str) -> str:
    """An argument that names a place for backups."""
    if not _ID.fullmatch(text):
        raise argparse.ArgumentTypeError("a place's name: letters, digits, - and _ (posctl backup list shows them)")
    return text


def command_id(text: str) -> str:
    """An argument that names an order."""
    if not _ID.fullmatch(text):
        raise argparse.ArgumentTypeError("an id is letters, digits, - and _, at most 64 (posctl command list)")
    return text
