"""``posctl fleet backup list | verify | reencrypt``: backups of terminals where the operator's private key is.

No agent is needed. A full restore test belongs here: a terminal cannot read what it wrote.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agent.fleet.backup_list import list_backups
from agent.fleet.backup_reencrypt import reencrypt
from agent.fleet.backup_verify import verify
from agent.fleet.screen import ReadArguments

_LIST = """\
What is in a folder of backups, by the names of its files: which terminals, which of their journals, from which entry
to which, and between which files entries are missing. With --identity each file is read and proved as well.
"""
_VERIFY = """\
The full restore test: each terminal's journal is restored into a database that is thrown away, and its chain proved
from the first entry to the last. exit 0 if every entry is there and every file is usable.
"""
_REENCRYPT = """\
Encrypt backups again to a terminal's own key, which `pos-agent keys` prints there, so that it can restore them. Each
file is read to its end and proved; one that is not usable is named and left out, and the exit code is 1 then.
"""


def add_arguments(parser: argparse.ArgumentParser, _read_arguments: ReadArguments) -> None:
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    raw = argparse.RawDescriptionHelpFormatter
    one = verbs.add_parser("list", help="what is there", description=_LIST, formatter_class=raw)
    one.add_argument("folder", type=Path, metavar="FOLDER")
    _common(one, identity=False).set_defaults(run=list_backups)
    one = verbs.add_parser("verify", help="restore it for a test", description=_VERIFY, formatter_class=raw)
    one.add_argument("folder", type=Path, metavar="FOLDER")
    one.add_argument("--work", type=Path, metavar="DIR", help="where the decrypted database is for so long (else /tmp)")
    _common(one).set_defaults(run=verify)
    one = verbs.add_parser(
        "reencrypt", help="encrypt it again to other keys", description=_REENCRYPT, formatter_class=raw
    )
    one.add_argument("--from", required=True, type=Path, dest="folder", metavar="FOLDER")
    one.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="gets the same folders below it")
    one.add_argument("--recipient", required=True, action="append", metavar="age1…", help="repeat it for several")
    _common(one).set_defaults(run=reencrypt)


def _common(parser: argparse.ArgumentParser, *, identity: bool = True) -> argparse.ArgumentParser:
    parser.add_argument(
        "--identity", required=identity, type=Path, metavar="FILE", help="the operator's private key, as of age-keygen"
    )
    parser.add_argument("--terminal", metavar="T", help="only this one: T, or SITE/T (else: all)")
    parser.add_argument("--journal", metavar="ID", help="only this journal of it")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
    parser.add_argument("--socket", help=argparse.SUPPRESS)  # every verb takes it; these need no agent
    return parser
