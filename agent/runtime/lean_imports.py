"""Imports libraries for the daemon without the parts of them that it never calls: memory that would be held for ever.

An import of structlog or msgspec brings in renderers for a developer's screen, test tools, and backports of typing. Here
stand-ins take the place of those parts while the library is imported, and are taken away again: who needs the real part
later, in the same process, imports it. Measured with Debian 12's Python, -OO: 0.9 MB less (tests/bench/idle.py).
"""

from __future__ import annotations

import contextlib
import sys
import types
from collections.abc import Iterator
from typing import Any, Final

_STRUCTLOG_UNUSED: Final = ("dev", "stdlib", "testing", "threadlocal", "tracebacks", "twisted")


class _Unused:
    """What a stand-in gives for any name: may be made with any arguments, which libraries do for their defaults."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass


class _StandIn(types.ModuleType):
    """Any public or private name of it is `_Unused`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unused


@contextlib.contextmanager
def stand_ins(*names: str) -> Iterator[None]:
    """Until the end of the block an import of one of ``names`` gives a stand-in, unless the module is loaded already."""
    put = {name: _StandIn(name) for name in names if name not in sys.modules}
    sys.modules.update(put)
    try:
        yield
    finally:
        _take_away(put)


@contextlib.contextmanager
def absent(*names: str) -> Iterator[None]:
    """Until the end of the block an import of one of ``names`` fails, unless the module is loaded already."""
    put = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(put))  # type: ignore[arg-type]  # None: "there is none", as Python documents it
    try:
        yield
    finally:
        _take_away(put)


def import_libraries() -> None:
    """Import structlog and msgspec; call it before any other import of them, and only as the daemon."""
    # typing_extensions: 0.3 MB; from Python 3.11 on ``typing`` has all that these two ask of it.
    # structlog's console renderer, bridges and test tools, and pickle for copies of loggers: 0.55 MB. The defaults
    # made of them are replaced as a whole by event_log.configure.
    unused = [f"structlog.{part}" for part in _STRUCTLOG_UNUSED]
    with absent("typing_extensions"), stand_ins("pickle", *unused):
        import msgspec  # noqa: F401, PLC0415
        import structlog  # noqa: PLC0415
    for part in _STRUCTLOG_UNUSED:
        if isinstance(getattr(structlog, part, None), _StandIn):
            delattr(structlog, part)


def _take_away(names: Any) -> None:
    for name in names:
        sys.modules.pop(name, None)
