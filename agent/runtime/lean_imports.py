"""Imports libraries for the daemon without the parts of them that it never calls: memory that would be held for ever.

What a library imports in case somebody asks for it (a renderer for a developer's screen, the aliases of every locale,
a syntax tree) gets a stand-in while the library is imported. The stand-in is then taken away: who imports the real
module later gets it, and a library that comes to use its own stand-in after all is passed on to the real one. The
amounts are of Debian 12's Python with -OO, as `make bench` shows them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
import types
from collections.abc import Iterator
from typing import Any, Final

_STRUCTLOG_UNUSED: Final = ("dev", "stdlib", "testing", "threadlocal", "tracebacks", "twisted")


_MSGSPEC_UNUSED: Final = ("inspect", "msgpack", "toml", "yaml")


class _Unused:
    """What a stand-in gives for any name: a library may make one, for a default, or derive from it."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass


class _StandIn(types.ModuleType):
    """Gives `_Unused` for any name while it stands in, the real module's attribute afterwards."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__dict__["_stands_in"] = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unused if self._stands_in else getattr(importlib.import_module(self.__name__), name)


class _NoSignatures(_StandIn):
    """``inspect`` for ``dataclasses``: it asks for nothing but signatures, to make docstrings of them."""

    def signature(self, _of: object) -> str:
        return ""


@contextlib.contextmanager
def stand_ins(*names: str) -> Iterator[None]:
    """Within the block an import of one of ``names`` gives a stand-in, unless the module is loaded already."""
    put = [_StandIn(name) for name in names if name not in sys.modules]
    sys.modules.update({one.__name__: one for one in put})
    try:
        yield
    finally:
        for one in put:
            one.__dict__["_stands_in"] = False
            del sys.modules[one.__name__]
            package, _, last = one.__name__.rpartition(".")
            if package in sys.modules and getattr(sys.modules[package], last, None) is one:
                delattr(sys.modules[package], last)


@contextlib.contextmanager
def absent(*names: str) -> Iterator[None]:
    """Within the block an import of one of ``names`` fails, unless the module is loaded already."""
    put = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(put))  # type: ignore[arg-type]  # None: "there is none", as Python documents it
    try:
        yield
    finally:
        for name in put:
            del sys.modules[name]


def import_libraries() -> None:
    """Import what all of the daemon rests on; call it before any other import of these, and only as the daemon."""
    # ast, for signatures of C functions out of text; locale, for a child's output as text; ipaddress, for addresses in
    # brackets: 1.0 MB. inspect, for the text of a task that nobody prints, with dis: 0.8 MB.
    with stand_ins("ast", "locale", "ipaddress", "inspect", "platform"):
        import asyncio  # noqa: F401, PLC0415
        import dataclasses  # noqa: PLC0415
        import pathlib  # noqa: F401, PLC0415
        import uuid  # noqa: F401, PLC0415  # platform: 0.1 MB, to ask whether this is AIX
    # A dataclass without a docstring, and with -OO none has one, would get its signature for one.
    dataclasses.inspect = _NoSignatures("inspect")  # type: ignore[attr-defined]
    # typing_extensions: 0.3 MB; from Python 3.11 on ``typing`` has all that these two ask of it.
    # structlog's console renderer, bridges and test tools, and pickle for copies of loggers: 0.55 MB. The defaults
    # made of them are replaced as a whole by event_log.configure. msgspec's other formats, its descriptions of types,
    # and decimal, which no message of ours holds: 0.5 MB.
    unused = ("pickle", "decimal", "inspect", *(f"structlog.{part}" for part in _STRUCTLOG_UNUSED))
    with absent("typing_extensions"), stand_ins(*unused, *(f"msgspec.{part}" for part in _MSGSPEC_UNUSED)):
        import msgspec  # noqa: F401, PLC0415
        import structlog  # noqa: F401, PLC0415


def forget(*names: str) -> None:
    """Give back the memory of modules that were needed once: what is imported next is put into it."""
    for name in [one for one in sys.modules if one.partition(".")[0] in names]:
        del sys.modules[name]
    gc.collect()  # a module and its functions refer to each other
