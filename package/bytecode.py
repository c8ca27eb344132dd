"""Compiles a release for ``-OO``, with what it imports of the standard library, into the release's folder ``bytecode``.

Part of the package; its maintainer script runs it on the terminal, as root, by the release's own interpreter:

    RELEASE/bin/python -I -OO -X no_debug_ranges -X pycache_prefix=RELEASE/bytecode.new \\
        RELEASE/libexec/bytecode.py RELEASE CURRENT

``no_debug_ranges`` leaves out at which column of a line an error was: a tenth of the size.

Debian ships no bytecode for ``-OO``: without this every start compiles some 200 files, and keeps the memory of it.
Importing is what writes the files, so exactly what can be imported is there: all of our own that runs on a terminal,
and every library that one of these files names, at its top or within a function. They are found by the path of the
source file, which the daemon reaches through ``CURRENT``. Standard library only.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import os
import py_compile
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

OURS = ("agent", "drivers")
# For a developer's or an operator's machine: on a terminal nobody starts these.
LEFT_OUT = ("agent.demo", "agent.fleet", "agent.supervisor", "drivers.emulators")
# What the standard library imports only when it is needed: for work in a thread, and for a host's name.
ALSO = ("concurrent.futures.thread", "encodings.idna")


def main(release: Path, current: Path) -> int:
    """Returns 0; what cannot be imported on this machine is compiled all the same."""
    new, final = release / "bytecode.new", release / "bytecode"
    if sys.pycache_prefix != str(new) or sys.flags.optimize != 2 or not sys.flags.isolated:
        print(__file__, "runs with -I -OO -X pycache_prefix=RELEASE/bytecode.new", file=sys.stderr)
        return 2
    shutil.rmtree(new, ignore_errors=True)
    sys.dont_write_bytecode = False
    packages = release / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    files = [file for name in OURS for file in sorted((packages / name).rglob("*.py"))]
    files = [file for file in files if not _module(file, packages).startswith(LEFT_OUT)]
    for name in [*(one for file in files for one in _names(file, packages)), *ALSO]:
        if not name.startswith(LEFT_OUT):
            with contextlib.suppress(Exception, SystemExit):
                importlib.import_module(name)
    # Loaded before the folder was emptied, or not importable here.
    loaded = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    for source in [*map(str, files), *(one for one in loaded if one is not None and one.endswith(".py"))]:
        if source != __file__ and not os.path.exists(importlib.util.cache_from_source(source)):
            with contextlib.suppress(py_compile.PyCompileError, OSError):
                py_compile.compile(source, doraise=True)
    below = new / release.relative_to("/")
    (new / current.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
    below.rename(new / current.relative_to("/"))
    shutil.rmtree(final, ignore_errors=True)
    new.rename(final)
    return 0


def _module(file: Path, packages: Path) -> str:
    parts = file.relative_to(packages).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _names(file: Path, packages: Path) -> Iterator[str]:
    """The module itself, and every module that it imports by an absolute name, wherever in the file."""
    yield _module(file, packages)
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            yield node.module


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
