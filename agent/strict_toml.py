"""TOML tables into frozen structs, with **every** problem at once, each naming file and key.

msgspec stops at the first error of a value, so a table is decoded key by key. Used for the configuration and the model
files; values are never repeated in a message, keys and expected forms are.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args, get_origin

import msgspec

S = TypeVar("S", bound=msgspec.Struct)
_UNITS = ("_s", "_ms", "_pct", "_bytes", "_mb", "_c", "_min", "_h")


class Unreadable(Exception):
    """The file as a whole cannot be used; the message says why and what to do."""


def read_table(path: Path) -> dict[str, Any]:
    """The file's top table.

    Raises:
        Unreadable: Missing, not permitted, not UTF-8, or not TOML (with line and column).
    """
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        _unreadable(
            path, "does not exist; copy config/agent.toml there and fill in [terminal], or name a file with --config"
        )
    except IsADirectoryError:
        _unreadable(path, "is a folder, not a file")
    except PermissionError:
        _unreadable(path, "may not be read by this user; check its owner and mode (chmod 0640, group pos-agent)")
    except OSError as err:
        _unreadable(path, f"cannot be read: {err.strerror}")
    except UnicodeDecodeError as err:
        _unreadable(path, f"is not UTF-8 (byte {err.start})")
    except tomllib.TOMLDecodeError as err:
        _unreadable(path, f"is not TOML: {err}")


def _unreadable(path: Path, why: str) -> NoReturn:
    raise Unreadable(f"{path}: {why}")


class Reader:
    """Decodes tables and gathers ``problems``; ``origins`` tells which file set a key (``terminal.site`` → file)."""

    def __init__(self, file: Path, origins: Mapping[str, Path] | None = None) -> None:
        self._file = file
        self._origins = origins or {}
        self.problems: list[str] = []

    def problem(self, key: str, text: str) -> None:
        """Add a problem of one key."""
        self.problems.append(f"{self._origin(key)}: {key}: {text}")

    def _origin(self, key: str) -> Path:
        while key and key not in self._origins:
            key = key.rpartition(".")[0]
        return self._origins.get(key, self._file)

    def struct(self, kind: type[S], table: object, at: str = "") -> S | None:
        """Decode one table; None when anything in it, however deep, is a problem."""
        if not isinstance(table, dict):
            self.problem(at or "(file)", f"must be a table, [{at}]")
            return None
        before = len(self.problems)
        known = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        values: dict[str, Any] = {}
        for key, value in table.items():
            where = f"{at}.{key}" if at else key
            if key not in known:
                self.problem(where, f"unknown key{_suggest(key, list(known))}")
                continue
            found = self._value(known[key].type, value, where)
            if found is not None:
                values[known[key].name] = found
        for name, field in known.items():
            if field.required and name not in table:
                self.problem(f"{at}.{name}" if at else name, "is required and missing")
        return kind(**values) if len(self.problems) == before else None

    def _value(self, kind: Any, value: object, where: str) -> Any:
        inner = (
            next((arg for arg in get_args(kind) if arg is not type(None)), kind)
            if type(None) in get_args(kind)
            else kind
        )
        origin, args = get_origin(inner), get_args(inner)
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            return self.struct(inner, value, where)
        if origin is tuple and isinstance(args[0], type) and issubclass(args[0], msgspec.Struct):
            if not isinstance(value, list):
                self.problem(where, f"must be an array of tables, [[{where}]]")
                return None
            found = [self.struct(args[0], item, f"{where}[{index}]") for index, item in enumerate(value)]
            return None if None in found else tuple(found)
        if origin is dict and isinstance(args[1], type) and issubclass(args[1], msgspec.Struct):
            if not isinstance(value, dict):
                self.problem(where, f"must be tables, [{where}.<id>]")
                return None
            tables = {}
            for name, item in value.items():
                try:
                    msgspec.convert(name, args[0])
                except msgspec.ValidationError as err:
                    self.problem(f"{where}.{name}", f"the name: {_plain(err)}")
                    continue
                tables[name] = self.struct(args[1], item, f"{where}.{name}")
            return None if None in tables.values() or len(tables) != len(value) else tables
        try:
            return msgspec.convert(value, inner, strict=True)
        except msgspec.ValidationError as err:
            self.problem(where, _plain(err) + _unit_hint(where, value))
            return None


def _plain(err: msgspec.ValidationError) -> str:
    return str(err).partition(" - at ")[0]


def _unit_hint(where: str, value: object) -> str:
    units = {"_s": "seconds", "_ms": "milliseconds", "_pct": "percent", "_bytes": "bytes", "_c": "°C"}
    unit = next((text for suffix, text in units.items() if where.endswith(suffix)), None)
    return f": a plain number of {unit}" if unit and isinstance(value, str) else ""


def _suggest(key: str, known: list[str]) -> str:
    stem = next((key.removesuffix(unit) for unit in _UNITS if key.endswith(unit)), key)
    for name in known:
        if name != key and next((name.removesuffix(unit) for unit in _UNITS if name.endswith(unit)), name) == stem:
            return f"; the unit differs: use {name}"
    import difflib  # noqa: PLC0415  # 0.1 MB that a daemon with a good configuration never needs

    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
