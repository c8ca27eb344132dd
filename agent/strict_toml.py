"""TOML tables into frozen structs, with **every** problem at once, each naming file and key.

msgspec stops at the first error of a value, so a table is decoded key by key. Used for the configuration and the model
files; values are never repeated in a message, keys and expected forms are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

MAX_DEPTH = 16
"""Tables and arrays inside each other: more than any of ours has, and few enough for whoever walks through them."""

S = TypeVar("S", bound=msgspec.Struct)
_UNITS = ("_s", "_ms", "_pct", "_bytes", "_mb", "_c", "_min", "_h")


class Unreadable(Exception):
    """The file as a whole cannot be used; the message says why and what to do."""


def read_table(path: Path) -> dict[str, Any]:
    """The file's top table.

    Raises:
        Unreadable: Missing, not permitted, not UTF-8, or not TOML (with line and column).
    """
    import tomllib  # noqa: PLC0415  # the daemon reads TOML once; see lean_imports.forget

    try:
        table = tomllib.loads(path.read_bytes().decode("utf-8"))
        if not _is_deeper(table, MAX_DEPTH):
            return table
        _unreadable(path, "is nested too deeply")
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
    except RecursionError:
        _unreadable(path, "is nested too deeply")
    except ValueError:  # Python's own limit on digits, which tomllib passes on
        _unreadable(path, "holds a number with too many digits")


def _is_deeper(value: object, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            item
            for holder in level
            for item in (holder.values() if isinstance(holder, dict) else holder if isinstance(holder, list) else ())
            if isinstance(item, dict | list)
        ]
    return bool(level)


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
        fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
        required = {name for name, field in fields.items() if field.required}
        values = self._values(fields, required, kind.__struct_config__.tag_field, table, at)
        return kind(**values) if len(self.problems) == before else None

    def _values(
        self, fields: Mapping[str, FieldInfo], required: Set[str], tag: str | None, table: dict[str, Any], at: str
    ) -> dict[str, Any]:
        """Each key of ``table`` by its field; ``tag`` has been looked at already."""
        values: dict[str, Any] = {}
        for key, value in table.items():
            where = f"{at}.{key}" if at else key
            if key == tag:
                continue
            if key not in fields:
                self.problem(where, f"unknown key{_suggest(key, list(fields))}")
                continue
            found = self._value(fields[key].type, value, where)
            if found is not None:
                values[fields[key].name] = found
        for name in fields:
            if name in required and name not in table:
                self.problem(f"{at}.{name}" if at else name, "is required and missing")
        return values

    def _one_of(self, kinds: Sequence[type[msgspec.Struct]], table: object, at: str) -> msgspec.Struct | None:
        """Decode a table whose tag tells which of ``kinds`` it is; with a wrong tag, what any of them would refuse."""
        tag = kinds[0].__struct_config__.tag_field
        if len(kinds) == 1 or tag is None or not isinstance(table, dict):
            return self.struct(kinds[0], table, at)
        by_tag = {str(kind.__struct_config__.tag): kind for kind in kinds}
        chosen = by_tag.get(str(table.get(tag)))
        if chosen is not None:
            return self.struct(chosen, table, at)
        known = f"there are: {', '.join(sorted(by_tag))}"
        self.problem(f"{at}.{tag}", f"no such {tag}; {known}" if tag in table else f"is required and missing; {known}")
        all_fields = [{field.encode_name: field for field in msgspec.structs.fields(kind)} for kind in kinds]
        merged = {name: field for fields in reversed(all_fields) for name, field in fields.items()}
        required = {name for name in merged if all(name in one and one[name].required for one in all_fields)}
        self._values(merged, required, tag, table, at)
        return None

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
        if origin is dict and (kinds := _struct_kinds(args[1])):
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
                tables[name] = self._one_of(kinds, item, f"{where}.{name}")
            return None if None in tables.values() or len(tables) != len(value) else tables
        try:
            return msgspec.convert(value, inner, strict=True)
        except msgspec.ValidationError as err:
            self.problem(where, _plain(err, inner) + _unit_hint(where, value))
            return None


def _struct_kinds(kind: Any) -> tuple[type[msgspec.Struct], ...]:
    """The structs of a union, or the one struct; empty for anything else."""
    found = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    is_all = all(isinstance(one, type) and issubclass(one, msgspec.Struct) for one in found)
    return found if is_all else ()


def _plain(err: msgspec.ValidationError, kind: Any = None) -> str:
    text = str(err)
    if text.startswith("Invalid enum value"):  # it would repeat the value
        return f"must be one of: {', '.join(map(str, _words(kind)))}"
    return text.partition(" - at ")[0]


def _words(kind: Any) -> list[object]:
    """What a Literal allows, wherever it stands in the type."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [member.value for member in kind]
    return [word for arg in get_args(kind) for word in _words(arg)]


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
