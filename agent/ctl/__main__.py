"""``posctl``: the command line → one verb → an exit code (``exit_codes.py``).

This is the program's own composition root, as ``agent/boot.py`` is the daemon's: it alone knows both the verbs of the
control socket and those of the fleet. The latter need MQTT and signatures and are imported only when asked for, so
that ``posctl status`` starts in the time Python takes.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from agent import __version__
from agent.ctl.catalog import VERBS
from agent.ctl.exit_codes import Exit, exit_for
from agent.ctl.screen import Screen
from agent.ctl.words import read_arguments
from agent.errors import AgentError

FLEET = "fleet"
_EPILOG = """\
exit codes: 0 done; 1 the thing itself failed; 2 wrong use; 3 the agent (or the broker) cannot be reached; 4 refused
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Every way out is one of the five exit codes."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parse(words)
    except SystemExit as err:  # argparse has printed its help or what is wrong
        return int(err.code or 0) if not isinstance(err.code, str) else Exit.WRONG_USE
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 is no reason to fail
    screen = Screen(as_json=args.as_json)
    try:
        return int(args.run(args, screen))
    except AgentError as err:
        screen.error(err)
        return int(exit_for(err))
    except KeyboardInterrupt:
        screen.note("posctl: interrupted; an order that was given goes on")
        return int(Exit.FAILED)
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.DONE)


def _parse(words: list[str]) -> argparse.Namespace:
    parser = _parser(with_fleet=FLEET in words[:1])
    args, left = parser.parse_known_args(words)
    if left:
        # argparse takes name=value words in one run only; people put options between them.
        if not hasattr(args, "arguments") or any(word.startswith("-") for word in left):
            parser.error(f"unrecognized arguments: {' '.join(left)}")
        args.arguments = [*args.arguments, *left]
    return args


def _parser(*, with_fleet: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="posctl", description="Look after a payment terminal.", epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"posctl {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in VERBS:
        verb.add_arguments(verbs.add_parser(verb.name, help=verb.help, description=_sentence(verb.help)))
    about_fleet = "many terminals: keys, send, watch, backup, collect"
    fleet = verbs.add_parser(FLEET, help=about_fleet, description=_sentence(about_fleet))
    if with_fleet:
        from agent.fleet.catalog import add_arguments  # noqa: PLC0415  # heavy: only when asked for

        add_arguments(fleet, read_arguments)
    return parser


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


if __name__ == "__main__":
    sys.exit(main())
