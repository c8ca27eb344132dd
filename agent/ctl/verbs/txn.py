"""``posctl txn list | show | summary | export``: what the transaction journal holds."""

from __future__ import annotations

import argparse
import re

import msgspec

from agent.ctl import answers, snapshot
from agent.ctl.client import ControlClient, decode
from agent.ctl.exit_codes import Exit
from agent.ctl.paging import pages
from agent.ctl.render.protection import copies_of, copies_text
from agent.ctl.render.txn import entry_table, total_table, transaction_lines
from agent.ctl.screen import Screen
from agent.ctl.txn_filters import filter_options, filters_of, six_digits
from agent.ctl.verb import Verb, client, count, socket_options
from agent.ctl.verbs import txn_export
from agent.errors import NotFound

DEFAULT_LIMIT = 20
_MOST_ENTRIES = 1000
_STAN = re.compile(r"[0-9]{6}")


def _list(args: argparse.Namespace, screen: Screen) -> Exit:
    filters = {**filters_of(args), "newest_first": not args.oldest_first}
    with client(args) as agent:
        items, more = pages(agent, "transaction.list", filters, args.limit)
    entries = [decode(item, answers.Entry, "transaction.list") for item in items]
    if screen.as_json:
        screen.document({"items": items, "more": more})
    else:
        screen.lines(entry_table(entries, screen.style))
        if more:
            screen.note(f"there are more: --limit {args.limit * 5}")
    return Exit.DONE


def _show(args: argparse.Namespace, screen: Screen) -> Exit:
    with client(args) as agent:
        ids = [args.transaction]
        if _STAN.fullmatch(args.transaction):
            found, _more = pages(agent, "transaction.list", {"stan": args.transaction}, _MOST_ENTRIES)
            ids = sorted(
                {str(decode(item, answers.Entry, "transaction.list").record["transaction_id"]) for item in found}
            )
        histories = [_history(agent, transaction_id) for transaction_id in ids]
        told = snapshot.copies(agent)
    histories = [history for history in histories if history]
    if not histories:
        raise NotFound(
            "no such transaction in this journal",
            hint="posctl txn list shows the latest; an old one may have left by retention",
        )
    if screen.as_json:
        screen.document(
            {
                "items": [
                    {"history": [raw for _entry, raw in history], **_copies(copies_of(history[-1][0].seq, told))}
                    for history in histories
                ]
            }
        )
    for number, history in enumerate(histories if not screen.as_json else []):
        screen.lines([""] if number else [])
        held = copies_of(history[-1][0].seq, told)
        screen.lines(transaction_lines([entry for entry, _raw in history], screen.style, copies_text(held)))
    return Exit.DONE


def _copies(held: dict[str, bool]) -> dict[str, object]:
    return {"copies": held} if held else {}


def _history(agent: ControlClient, transaction_id: str) -> list[tuple[answers.Entry, msgspec.Raw]]:
    """Every entry of one transaction, oldest first, as read and as received."""
    items, _more = pages(agent, "transaction.list", {"transaction_id": transaction_id}, _MOST_ENTRIES)
    history = [(decode(item, answers.Entry, "transaction.list"), item) for item in items]
    return sorted(history, key=lambda pair: pair[0].seq)


def _summary(args: argparse.Namespace, screen: Screen) -> Exit:
    filters = {"batch_no": args.batch} if args.batch is not None else {}
    with client(args) as agent:
        items, _more = pages(agent, "transaction.summary", filters, 10_000)
    totals = [decode(item, answers.Total, "transaction.summary") for item in items]
    if screen.as_json:
        screen.document({"items": items})
    else:
        screen.lines(total_table(totals, screen.style))
    return Exit.DONE


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="journal entries, one a line, the newest first")
    listing.add_argument("--limit", type=count, default=DEFAULT_LIMIT, metavar="N", help=f"at most N ({DEFAULT_LIMIT})")
    filter_options(listing)
    listing.add_argument("--oldest-first", action="store_true", help="from the beginning of the journal")
    socket_options(listing, _list)
    show = verbs.add_parser("show", help="one transaction with its history")
    show.add_argument("transaction", metavar="TRANSACTION", help="its UUID, or the six digits of its trace number")
    socket_options(show, _show)
    summary = verbs.add_parser("summary", help="count and sum per batch, currency and type")
    summary.add_argument("--batch", type=six_digits, metavar="NUMBER", help="only this batch, six digits")
    socket_options(summary, _summary)
    export = verbs.add_parser("export", help="the journal or a part of it as a file: CSV or NDJSON")
    txn_export.add_arguments(export)
    filter_options(export)
    socket_options(export, txn_export.run)


TXN = Verb("txn", "the transaction journal: list, show, summary, export", _add_arguments)
