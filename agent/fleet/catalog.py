"""Every verb of ``posctl fleet``. One line a verb."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from agent.fleet import backup, keys, send, watch
from agent.fleet.collector import collect
from agent.fleet.screen import ReadArguments

VERBS: dict[str, tuple[str, Callable[[argparse.ArgumentParser, ReadArguments], None]]] = {
    "backup": ("backups in a folder: list, verify, reencrypt to a terminal's key", backup.add_arguments),
    "keys": ("keys and policies of a small fleet: new, show, policy", keys.add_arguments),
    "send": ("sign an order and send it to terminals", send.add_arguments),
    "collect": ("hold copies of terminals' journals; status, verify and export of what is held", collect.add_arguments),
    "watch": ("what the terminals of a site publish, as it comes", watch.add_arguments),
}


def add_arguments(parser: argparse.ArgumentParser, read_arguments: ReadArguments) -> None:
    """Fill the parser of ``posctl fleet``; ``read_arguments`` reads the words of an order."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, (about, fill) in VERBS.items():
        fill(verbs.add_parser(name, help=about, description=about[0].upper() + about[1:] + "."), read_arguments)
