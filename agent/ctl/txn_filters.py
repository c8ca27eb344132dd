"""Which journal entries: the options of ``posctl txn list`` and ``export``, and what they are called by the agent."""

from __future__ import annotations

import argparse
import re

from agent.ctl.times import rfc3339
from agent.ctl.verb import moment
from agent.errors import BadRequest

_SIX_DIGITS = re.compile(r"[0-9]{6}")
_WORD = re.compile(r"[a-z_]{1,32}")


def filter_options(parser: argparse.ArgumentParser) -> None:
    """``--from --until --state --batch --stan``."""
    parser.add_argument("--from", dest="since", type=moment(end=False), metavar="TIME", help="stored at TIME or later")
    parser.add_argument(
        "--until", type=moment(end=True), metavar="TIME", help="stored before TIME (a date alone: its whole day)"
    )
    parser.add_argument("--state", type=_state, metavar="STATE", help="only this state, for example unknown")
    parser.add_argument("--batch", type=six_digits, metavar="NUMBER", help="only this batch, six digits")
    parser.add_argument("--stan", type=six_digits, metavar="NUMBER", help="only this trace number, six digits")


def filters_of(args: argparse.Namespace) -> dict[str, object]:
    """As parameters of ``transaction.list``; what was not asked for is left out.

    Raises:
        BadRequest: ``--until`` is not after ``--from``.
    """
    if args.since is not None and args.until is not None and args.until <= args.since:
        raise BadRequest("--until is not later than --from", field="--until")
    wanted = {
        "from_at": rfc3339(args.since) if args.since is not None else None,
        "to_at": rfc3339(args.until) if args.until is not None else None,
        "state": args.state,
        "batch_no": args.batch,
        "stan": args.stan,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def six_digits(text: str) -> str:
    """An argument of exactly six digits."""
    if not _SIX_DIGITS.fullmatch(text):
        raise argparse.ArgumentTypeError("six digits, zeros in front included")
    return text


def _state(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise argparse.ArgumentTypeError("a state of a transaction, such as approved or unknown")
    return text
