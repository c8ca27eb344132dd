"""``posctl journal verify``: recompute the whole chain of the transaction journal."""

from __future__ import annotations

import argparse

from agent.ctl import answers
from agent.ctl.client import CallFailed, decode
from agent.ctl.exit_codes import Exit
from agent.ctl.render.style import duration, many
from agent.ctl.render.txn import verification_lines
from agent.ctl.screen import Screen
from agent.ctl.verb import Verb, client, socket_options

_VERIFY_TIMEOUT_S = 1800.0  # reads every entry: of ten million several minutes


def _verify(args: argparse.Namespace, screen: Screen) -> Exit:
    with client(args) as agent:
        try:
            entries = agent.fetch("agent.info", answers.AgentInfo).journal.entries
        except CallFailed:  # it is only told
            entries = 0
    what = f"reading {many(entries, 'entry', 'entries')}" if entries else "reading every entry"
    args.timeout = max(args.timeout, _VERIFY_TIMEOUT_S)
    with client(args, lambda elapsed_s: screen.work(f"{duration(elapsed_s)}  {what} and computing the chain")) as agent:
        raw = agent.call("journal.verify")
    verification = decode(raw, answers.Verification, "journal.verify")
    if screen.as_json:
        screen.document(raw)
    else:
        screen.lines(verification_lines(verification, screen.style))
    return Exit.DONE if verification.intact else Exit.FAILED


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    socket_options(verbs.add_parser("verify", help="recompute the chain; exit 0 if it holds"), _verify)


JOURNAL = Verb("journal", "the journal's chain of hashes: verify", _add_arguments)
