"""``posctl backup list | run | verify``: copies of the journal on other media, made and looked at."""

from __future__ import annotations

import argparse
import re

import msgspec

from agent.ctl import answers
from agent.ctl.client import ControlClient, decode
from agent.ctl.exit_codes import Exit
from agent.ctl.ordering import give, told
from agent.ctl.paging import raw_pages
from agent.ctl.render.backup import ID_DIGITS, backup_lines
from agent.ctl.screen import Screen
from agent.ctl.verb import Verb, client, command_id, count, place_name, seconds, socket_options
from agent.errors import BadRequest, NotFound
from agent.runtime.identifiers import uuid7

DEFAULT_LIMIT = 20
DEFAULT_WAIT_S = 1800.0
_PAGE = 100
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_END_OF_ID = re.compile(rf"[0-9a-f]{{{ID_DIGITS},12}}")
_RUN_EPILOG = """\
exit codes: 0 it is made and verified; 1 it is not, or not yet after --wait; 4 refused.
A backup made while nobody waits is made all the same: posctl backup list.
"""
_VERIFY_EPILOG = """\
exit codes: 0 the files are as they were written; 1 one is not, or cannot be read; 4 refused.
"""


class _RawPage(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw]
    next_cursor: str | None = None
    targets: msgspec.Raw = msgspec.Raw(b"[]")


def _list(args: argparse.Namespace, screen: Screen) -> Exit:
    filters = {"target": args.target} if args.target is not None else {}
    items: list[msgspec.Raw] = []
    backups: list[answers.Backup] = []
    latest = _RawPage([])
    targets: list[answers.BackupTarget] = []
    with client(args) as agent:
        for raw in raw_pages(agent, "backup.list", filters, _PAGE, args.limit):
            page = decode(raw, answers.BackupPage, "backup.list")
            latest = decode(raw, _RawPage, "backup.list")
            backups += page.items
            items += latest.items
            targets = page.targets
    more = latest.next_cursor is not None
    if screen.as_json:
        screen.document({"targets": latest.targets, "items": items, "more": more})
    else:
        screen.lines(backup_lines(targets, backups, screen.style))
        if more:
            screen.note(f"there are more: --limit {args.limit * 5}")
    return Exit.DONE


def _run(args: argparse.Namespace, screen: Screen) -> Exit:
    order: dict[str, object] = {"kind": args.kind}
    if args.target is not None:
        order["target"] = args.target
    return _ordered(args, "backup.run", order, screen)


def _verify(args: argparse.Namespace, screen: Screen) -> Exit:
    if args.backup is None or _UUID.fullmatch(args.backup):
        return _ordered(args, "backup.verify", {"backup_id": args.backup} if args.backup else {}, screen)
    with client(args) as agent:
        found = _ids_that_end(agent, args.backup)
    if not found:
        raise NotFound("no backup has an id that ends so", hint="posctl backup list --limit 1000")
    if len(found) > 1:
        raise BadRequest(
            "more than one backup has an id that ends so", hint="posctl backup list --json shows whole ids"
        )
    return _ordered(args, "backup.verify", {"backup_id": found[0]}, screen)


def _ids_that_end(agent: ControlClient, digits: str) -> list[str]:
    pages = (decode(raw, answers.BackupPage, "backup.list") for raw in raw_pages(agent, "backup.list", {}, _PAGE))
    return sorted({one.backup_id for page in pages for one in page.items if one.backup_id.endswith(digits)})


def _ordered(args: argparse.Namespace, method: str, order: dict[str, object], screen: Screen) -> Exit:
    order["command_id"] = args.command_id or uuid7()
    if args.reason is not None:
        order["reason"] = args.reason
    with client(args) as agent:
        raw, operation = give(agent, method, order, args.wait, screen)
    return told(raw, operation, args.wait, screen)


def _backup_id(text: str) -> str:
    if not _UUID.fullmatch(text) and not _END_OF_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"a backup's id, or its last {ID_DIGITS} digits as posctl backup list shows")
    return text


def _order_options(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--reason", metavar="TEXT", help="why, for the record")
    parser.add_argument(
        "--command-id", type=command_id, metavar="ID", help="the id of an earlier try: the same id is the same order"
    )
    parser.add_argument(
        "--wait",
        type=seconds,
        default=DEFAULT_WAIT_S,
        metavar="SECONDS",
        help=f"for the end at most this long ({DEFAULT_WAIT_S:g})",
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="the places for backups and their files, the newest first")
    listing.add_argument("--limit", type=count, default=DEFAULT_LIMIT, metavar="N", help=f"at most N ({DEFAULT_LIMIT})")
    listing.add_argument("--target", type=place_name, metavar="NAME", help="only the files of this place")
    socket_options(listing, _list)
    run = verbs.add_parser("run", help="make a backup now and wait for it", epilog=_RUN_EPILOG)
    run.add_argument(
        "--kind",
        choices=("segment", "snapshot"),
        default="segment",
        help="segment (default): the entries that no backup has yet; snapshot: the whole store",
    )
    run.add_argument("--target", type=place_name, metavar="NAME", help="only to this place (default: to all)")
    _order_options(run)
    socket_options(run, _run)
    verify = verbs.add_parser("verify", help="read files back and compare them", epilog=_VERIFY_EPILOG)
    verify.add_argument(
        "backup", nargs="?", type=_backup_id, metavar="BACKUP_ID", help="only this one; its last 8 digits will do"
    )
    _order_options(verify)
    socket_options(verify, _verify)


BACKUP = Verb("backup", "copies of the journal on other media: list, run, verify", _add_arguments)
