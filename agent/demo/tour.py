"""``pos-agent demo``: a whole terminal on this machine to look at, or with ``--script`` a proof that ends by itself."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from agent.demo.parts import DemoFailed
from agent.demo.script import run_script
from agent.demo.terminal import DemoTerminal
from agent.demo.view import run_view

# The kernel limits a unix socket's path to 107 bytes; the longest of ours is "/printer-0.control".
_LONGEST_FOLDER = 80


def main(argv: Sequence[str]) -> int:
    """Returns 0 when everything happened, 1 when something did not, 2 on wrong use."""
    parser = argparse.ArgumentParser(prog="pos-agent demo", description="A whole payment terminal on this machine.")
    parser.add_argument("--script", action="store_true", help="an unattended tour; exit 0 only if everything happened")
    parser.add_argument("--folder", type=Path, help="keep everything below this new folder (default: a temporary one)")
    options = parser.parse_args(argv)
    folder = (options.folder or Path(tempfile.mkdtemp(prefix="pos-agent-demo-"))).absolute()
    if len(str(folder)) > _LONGEST_FOLDER:
        print(f"pos-agent demo: {folder} is too long for unix sockets; give a shorter --folder", file=sys.stderr)
        return 2
    if options.folder and folder.exists() and any(folder.iterdir()):
        print(f"pos-agent demo: {folder} is not empty; give a new --folder", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    code = _run(DemoTerminal(folder, trace_imports=options.script, selling=not options.script), script=options.script)
    if options.folder is None and code == 0:
        shutil.rmtree(folder)
    else:
        print(f"everything is kept in {folder}")
    return code


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(terminal: DemoTerminal, *, script: bool) -> int:
    code = 1
    try:
        terminal.start()
        print(f"development key, accepted by this demo alone: {terminal.key_file}", flush=True)
        if script:
            code = run_script(terminal)
        else:
            run_view(terminal)
    except KeyboardInterrupt:
        code = 1 if script else 0
    except DemoFailed as err:
        print(f"pos-agent demo: {err}", file=sys.stderr)
    finally:
        try:
            terminal.stop()
        except DemoFailed as err:
            print(f"pos-agent demo: {err}", file=sys.stderr)
            code = 1
    return code
