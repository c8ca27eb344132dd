"""Lines → the bytes of the terminal at hand. Pure; what it cannot show gets a stand-in of the same width."""

from __future__ import annotations

from collections.abc import Callable

from agent.ctl.render.style import columns

_STAND_INS = {"✓": "+", "✗": "x", "→": ">", "…": ".", "↑": "^", "↓": "v", "°": "o", "–": "-", "·": "."}


def encoder_for(encoding: str, environ: Callable[[str], str | None]) -> Callable[[str], bytes]:
    """How to encode a line.

    Python itself takes UTF-8 where the locale is ``C``; somebody who said ``LC_ALL=C`` has a terminal without it.
    """
    said = environ("LC_ALL") or environ("LC_CTYPE") or environ("LANG") or ""
    if said in {"C", "POSIX"} or encoding.lower().replace("-", "") == "ascii":
        encoding = "ascii"
    return lambda text: _encoded(text, encoding)


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_shown(c, encoding) for c in text).encode(encoding, "replace")


def _shown(c: str, encoding: str) -> str:
    try:
        c.encode(encoding)
    except UnicodeEncodeError:
        return _STAND_INS.get(c) or "?" * columns(c)
    return c
