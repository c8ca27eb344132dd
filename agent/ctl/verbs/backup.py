"""``posctl backup list | run | verify``: copies of the journal on other media, made and looked at."""

from __future__ import annotations

import argparse
import re
from typing import TypeVar

import msgspec

from agent.ctl import answers
from agent.ctl.client import ControlClient, decode
from agent.ctl.exit_codes import Exit
from agent.ctl.ordering import give, told
from agent.ctl.paging import raw_pages
from agent.ctl.render.backup import ID_DIGITS, backup_lines, made_lines, read_lines
from agent.ctl.screen import Screen
from agent.ctl.verb import Verb, client, command_id, count, place_name, seconds, socket_options
from agent.errors import BadRequest, NotFound
from agent.runtime.identifiers import uuid7

Shape = TypeVar("Shape", answers.BackupMade, answers.BackupsRead)

DEFAULT_LIMIT = 20
DEFAULT_WAIT_S = 1800.0
_PAGE = 100
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_END_OF_ID = re.compile(rf"[0-9a-f]{{{ID_DIGITS},12}}")
_RUN_EPILOG = """\
exit codes: 0 it is made and was read back, or there was nothing new; 1 at one place at least it is not, or not yet
after --wait (it goes on then: posctl backup list); 4 refused.
"""
_VERIFY_EPILOG = """\
exit codes: 0 the files are as they were written; 1 one is not, or cannot be read, or there is none; 4 refused.
"""


class _RawPage(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw]
    next_cursor: str | None = None
    targets: msgspec.Raw = msgspec.Raw(b"[]")


def _list(args: argparse.Namespace, screen: Screen) -> Exit:
    filters = {"target": args.target} if args.target is not None else {}
    items: list[msgspec.Raw] = []
    backups: list[answers.Backup] = []
    targets: list[answers.BackupTarget] = []
    latest = _RawPage([])
    with client(args) as agent:
        for raw in raw_pages(agent, "backup.list", filters, _PAGE, args.limit):
            page = decode(raw, answers.BackupPage, "backup.list")
            latest, targets = decode(raw, _RawPage, "backup.list"), page.targets
            backups += page.items
            items += latest.items
    if args.target is not None and not backups and args.target not in {one.name for one in targets}:
        known = ", ".join(screen.plain(one.name) for one in targets) or "none"
        raise NotFound("this terminal has no place for backups of that name", hint=f"it has: {known}")
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
    raw, operation = _ordered(args, "backup.run", order, screen)
    made = _result(operation, answers.BackupMade)
    if made is None:
        return told(raw, operation, args.wait, screen)
    if screen.as_json:
        screen.document(raw)
    else:
        screen.lines(made_lines(made, screen.style))
    return Exit.FAILED if made.problems else Exit.DONE


def _verify(args: argparse.Namespace, screen: Screen) -> Exit:
    order: dict[str, object] = {"backup_id": _whole_id(args)} if args.backup is not None else {}
    raw, operation = _ordered(args, "backup.verify", order, screen)
    read = _result(operation, answers.BackupsRead)
    if read is None:
        return told(raw, operation, args.wait, screen)
    if screen.as_json:
        screen.document(raw)
    else:
        screen.lines(read_lines(read, screen.style))
    return Exit.DONE if read.right and not read.wrong and not read.problems else Exit.FAILED


def _whole_id(args: argparse.Namespace) -> str:
    """The id that was given, or the only one that ends so."""
    digits = str(args.backup)
    if _UUID.fullmatch(digits):
        return digits
    with client(args) as agent:
        found = _ids_that_end(agent, digits)
    if not found:
        raise NotFound("no backup has an id that ends so", hint="posctl backup list --limit 1000")
    if len(found) > 1:
        raise BadRequest(
            "more than one backup has an id that ends so", hint="posctl backup list --json shows whole ids"
        )
    return found[0]


def _ids_that_end(agent: ControlClient, digits: str) -> list[str]:
    pages = (decode(raw, answers.BackupPage, "backup.list") for raw in raw_pages(agent, "backup.list", {}, _PAGE))
    return sorted({one.backup_id for page in pages for one in page.items if one.backup_id.endswith(digits)})


def _ordered(
    args: argparse.Namespace, method: str, order: dict[str, object], screen: Screen
) -> tuple[msgspec.Raw, answers.Operation]:
    order["command_id"] = args.command_id or uuid7()
    if args.reason is not None:
        order["reason"] = args.reason
    with client(args) as agent:
        return give(agent, method, order, args.wait, screen)


def _result(operation: answers.Operation, shape: type[Shape]) -> Shape | None:
    """What came of it; None while it has not succeeded, or when it is told in a way that is not known here."""
    if operation.state != "succeeded":
        return None
    try:
        return msgspec.json.decode(operation.result, type=shape)
    except msgspec.DecodeError:
        return None


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
