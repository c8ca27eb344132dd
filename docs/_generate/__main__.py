"""``python -m docs._generate`` writes; with ``--check`` it writes nothing and exits 1 where something differs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from docs._generate import asyncapi, openrpc, regions
from docs._generate.tables import MAKERS

FOLDER = Path(__file__).parents[1]


def outputs(folder: Path = FOLDER) -> dict[Path, str]:
    """Every file that is made, with its content as it should be."""
    files = {folder / "asyncapi.json": _json(asyncapi.document())}
    files |= {folder / f"openrpc-{name}.json": _json(openrpc.document(name)) for name in openrpc.SOCKETS}
    for page in sorted(folder.glob("*.md")):
        text = page.read_text()
        if regions.names(text):
            files[page] = regions.filled(text, MAKERS)
    return files


def differing(folder: Path = FOLDER) -> list[Path]:
    """Files that are not as they should be, or are missing."""
    return [path for path, text in outputs(folder).items() if not path.exists() or path.read_text() != text]


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m docs._generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file differs")
    check = parser.parse_args().check
    stale = differing()
    for path in stale:
        print(f"{path.name}: {'differs from the code; run: make docs' if check else 'written'}")
        if not check:
            path.write_text(outputs()[path])
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
