"""``pos-agent``: command line → settings → boot → exit code (0 done, 1 failed, 2 wrong use or configuration)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import agent
from agent.errors import ConfigInvalid, NeedsPerson
from agent.runtime.lean_imports import forget, import_libraries

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

EXIT_DONE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the process's exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] == ["emulate"]:  # the emulators have options of their own
        return _emulate(arguments[1:])
    if arguments[:1] == ["demo"]:
        from agent.demo.tour import main as demo

        return demo(arguments[1:])
    if arguments[:1] in (["keys"], ["restore"]):
        from agent.boot.offline import main as offline

        return offline(arguments)
    if arguments[:1] == ["run"]:
        import_libraries()  # before any of our own files imports them
        if (file := _file_of(arguments[1:])) is not None:
            return _run(file)
    options = _parser().parse_args(arguments)
    if options.verb == "version":
        print(agent.__version__)
        return EXIT_DONE
    if options.verb == "check-config":
        return _check_config(options.config)
    return _run(options.config)


def _file_of(arguments: list[str]) -> Path | None:
    """The configuration that the daemon's plain command lines name; None for any other, which the parser answers.

    The daemon would hold argparse for ever, and shutil, gettext and the compression libraries that it imports: 0.7 MB.
    """
    from pathlib import Path

    from agent.config import DEFAULT_FILE

    match arguments:
        case []:
            return DEFAULT_FILE
        case ["--config", file] if not file.startswith("-"):
            return Path(file)
    return None


def _parser() -> argparse.ArgumentParser:
    import argparse
    from pathlib import Path

    from agent.config import DEFAULT_FILE

    parser = argparse.ArgumentParser(prog="pos-agent", description="The agent of a payment terminal.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    config = argparse.ArgumentParser(add_help=False)
    config.add_argument("--config", type=Path, default=DEFAULT_FILE, metavar="FILE", help=f"default: {DEFAULT_FILE}")
    verbs.add_parser("run", parents=[config], help="be the daemon (systemd starts this)")
    verbs.add_parser("check-config", parents=[config], help="list every problem of a configuration; exit 2 if any")
    verbs.add_parser("keys", help="print this terminal's public key for backups; made at the first call")
    verbs.add_parser("restore", help="give this terminal the journal that backups hold; `pos-agent restore --help`")
    verbs.add_parser("demo", help="a whole terminal on this machine: broker, printer, agent, payment application")
    verbs.add_parser("emulate", help="a device behind a pseudo-terminal, e.g. `emulate printer`")
    verbs.add_parser("version", help="print the version")
    return parser


def _check_config(file: Path) -> int:
    from agent.config import load

    try:
        loaded = load(file)
    except ConfigInvalid as err:
        _print_problems(err)
        return EXIT_USAGE
    print(f"{file}: ok, digest {loaded.digest}")
    return EXIT_DONE


def _run(file: Path) -> int:
    from agent.config import load_or_last_good

    try:
        loaded = load_or_last_good(file)
    except ConfigInvalid as err:
        _print_problems(err)
        return EXIT_USAGE
    forget("tomllib")
    from agent.boot import start

    try:
        return start(loaded)
    except NeedsPerson as err:
        print(f"pos-agent: {err}" + (f"\n  {err.hint}" if err.hint else ""), file=sys.stderr)
        return EXIT_FAILED


def _emulate(arguments: list[str]) -> int:
    from drivers.emulators.__main__ import main as emulate

    return emulate(arguments)


def _print_problems(err: ConfigInvalid) -> None:
    for problem in err.problems:
        print(problem, file=sys.stderr)
    print(f"pos-agent: {len(err.problems)} problem(s); nothing was started", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
