"""Who is meant: words of a command line and lists in files → terminals with the serials that were given. Pure but for
reading a named file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from agent.errors import BadRequest
from agent.fleet.orders import EVERY_TERMINAL, identity

MOST = 100_000
_MAX_BYTES = 16 * 1024 * 1024
LIST_HELP = "a terminal, several with commas between, or @FILE: one a line, after it its serial if it matters"


def read_terminals(words: Iterable[str], field: str = "TERMINAL") -> dict[str, str | None]:
    """Terminal → its serial, or None; in the order given, each once.

    Raises:
        BadRequest: A name that no Topic Name could hold, a file that cannot be read, two serials for one terminal.
    """
    found: dict[str, str | None] = {}
    for word in words:
        entries = _lines(word[1:], field) if word.startswith("@") else [(one, None) for one in word.split(",")]
        for terminal, serial in entries:
            name = terminal if terminal == EVERY_TERMINAL else identity(terminal, field)
            if found.get(name) is not None and serial not in {None, found[name]}:
                raise BadRequest(f"{name} is given two serials", field=field)
            found[name] = serial or found.get(name)
    if len(found) > MOST:
        raise BadRequest(f"{len(found)} terminals are more than {MOST:,}", field=field)
    if EVERY_TERMINAL in found and len(found) > 1:
        raise BadRequest("_all is every terminal of the site: name no other beside it", field=field)
    return found


def with_serials(terminals: dict[str, str | None], words: Iterable[str]) -> dict[str, str | None]:
    """The same with ``SERIAL`` (of the only terminal) or ``TERMINAL=SERIAL`` laid over.

    Raises:
        BadRequest: A serial of nobody who is meant, or without saying whose.
    """
    found = dict(terminals)
    for word in words:
        terminal, equals, serial = word.rpartition("=")
        if not equals and (len(found) != 1 or EVERY_TERMINAL in found):
            raise BadRequest("a serial belongs to one terminal", field="--serial", hint="--serial TERMINAL=SERIAL")
        whose = terminal if equals else next(iter(found))
        if whose not in found:
            raise BadRequest("a serial is given for a terminal that is not meant", field="--serial")
        if found[whose] not in {None, serial}:
            raise BadRequest(f"{whose} is given two serials", field="--serial")
        found[whose] = identity(serial, "--serial")
    return found


def _lines(path: str, field: str) -> list[tuple[str, str | None]]:
    try:
        if path == "-":
            content = sys.stdin.read(_MAX_BYTES + 1)
        else:
            with Path(path).open(encoding="utf-8") as file:
                content = file.read(_MAX_BYTES + 1)
    except OSError as err:
        raise BadRequest(f"cannot read the list of terminals {path}: {err.strerror}", field=field) from err
    except ValueError as err:
        raise BadRequest(f"{path} is no list of terminals: not UTF-8", field=field) from err
    if len(content) > _MAX_BYTES:
        raise BadRequest(f"{path} is longer than any list of terminals", field=field)
    entries: list[tuple[str, str | None]] = []
    for number, line in enumerate(content.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if len(words) > 2:
            raise BadRequest(f"{path}, line {number}: a terminal, and after it its serial, no more", field=field)
        if words:
            serial = identity(words[1], f"{path}, line {number}") if len(words) == 2 else None
            entries.append((identity(words[0], f"{path}, line {number}"), serial))
    if not entries:
        raise BadRequest(f"{path} names no terminal", field=field)
    return entries
