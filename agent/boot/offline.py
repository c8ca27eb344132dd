"""What is done to a terminal while its daemon rests: as the daemon's own user, alone on the state folder, for people.

One verb a file beside this one; the command line of each is read here.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from agent.boot.keys import keys
from agent.boot.restore import restore
from agent.config import DEFAULT_FILE, load_or_last_good
from agent.ctl.exit_codes import Exit, exit_for
from agent.ctl.screen import Screen
from agent.errors import AgentError, ConfigInvalid, Unavailable

_RESTORE: Final = """\
Give this terminal the journal that backups hold: entries, orders, faults and locks. The chain is proved from the first
entry to the last; what is missing is named, and nothing is put in place then unless --accept-missing says so. The
journal goes on under a new journal_id. A database that holds entries is never overwritten.
"""
_RESTORE_END: Final = """\
The files must be encrypted to this terminal's own key: `pos-agent keys` prints it, and where the operator's key is
`posctl fleet backup reencrypt` makes such files. exit codes: 0 done; 1 nothing was put in place; 2 wrong use;
4 refused: the daemon runs, or there is a database with entries
"""


def main(arguments: Sequence[str]) -> int:
    """Run ``keys`` or ``restore``; returns the exit code."""
    options = _parser().parse_args(arguments)
    screen = Screen(as_json=options.as_json, program="pos-agent")
    try:
        return int(options.run(load_or_last_good(options.config).settings, options, screen))
    except ConfigInvalid as err:
        for problem in err.problems:
            screen.note(problem)
        return Exit.WRONG_USE
    except AgentError as err:
        screen.error(err)
        return Exit.FAILED if isinstance(err, Unavailable) else exit_for(err)
    except KeyboardInterrupt:
        screen.note("pos-agent: interrupted; nothing was put in place")
        return Exit.FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pos-agent")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    every = argparse.ArgumentParser(add_help=False)
    every.add_argument("--config", type=Path, default=DEFAULT_FILE, metavar="FILE", help=f"default: {DEFAULT_FILE}")
    every.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
    about = "Print the public key of this terminal, to which backups are encrypted again for it; make it at first."
    verbs.add_parser("keys", parents=[every], description=about).set_defaults(run=keys)
    raw = argparse.RawDescriptionHelpFormatter
    one = verbs.add_parser("restore", parents=[every], description=_RESTORE, epilog=_RESTORE_END, formatter_class=raw)
    one.add_argument(
        "--from", required=True, dest="source", metavar="TARGET", help="a folder, or a [[backup.folder]] by its name"
    )
    one.add_argument(
        "--until",
        metavar="TIME|SEQUENCE",
        help="not beyond this entry, or what was stored by then: 412, 2026-11-21T10:00:00+08:00, without offset by this"
        " machine's clock, or a date (its whole day)",
    )
    one.add_argument("--journal", metavar="ID", help="this journal with its ancestors (else: the one begun last)")
    one.add_argument("--terminal", metavar="T", help="another terminal's journal: T, or SITE/T of another site")
    one.add_argument("--accept-missing", action="store_true", help="put it in place although entries are missing")
    one.add_argument("--fill", action="store_true", help="only add what the present journal is known to lack")
    one.set_defaults(run=restore)
    return parser
