"""Structs → JSON Schema components that every reader understands: ECMA patterns, plain names, sorted. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw, Struct

REFERENCE = "#/components/schemas/{name}"


def components(types: Iterable[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(schema of each type by its own key, all named schemas).

    Args:
        types: In any order, repeats are fine; the first result has a schema (mostly a ``$ref``) for each.
    """
    wanted = list(dict.fromkeys(types))
    told = [_tellable(kind) for kind in wanted]
    found, named = msgspec.json.schema_components(told, ref_template=REFERENCE, schema_hook=_any_json)
    renamed = _short_names(named)
    plain = {renamed[name]: _plain(schema, renamed) for name, schema in named.items()}
    return {key_of(kind): _plain(schema, renamed) for kind, schema in zip(wanted, found, strict=True)}, dict(
        sorted(plain.items())
    )


def key_of(kind: Any) -> str:
    """How the schema of a type is looked up."""
    return f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else repr(kind)


def _any_json(kind: type) -> dict[str, Any]:
    """``object``: JSON that is looked at later, by whoever knows it."""
    if kind is object:
        return {"description": "any JSON"}  # msgspec takes an empty schema for none
    raise NotImplementedError(kind)


def _tellable(kind: Any) -> Any:
    """A struct whose default is raw JSON, which msgspec can decode but not describe, as one with an object there."""
    if not (isinstance(kind, type) and issubclass(kind, Struct)):
        return kind
    fields = msgspec.structs.fields(kind)
    if not any(isinstance(field.default, Raw) for field in fields):
        return kind
    described: list[Any] = []
    for field in fields:
        if isinstance(field.default, Raw):
            described.append((field.name, dict[str, Any], msgspec.field(default_factory=dict)))
        else:
            described.append((field.name, field.type) if field.required else (field.name, field.type, field.default))
    made = msgspec.defstruct(kind.__name__, described, forbid_unknown_fields=True, frozen=True, module=kind.__module__)
    made.__doc__ = kind.__doc__
    return made


def _short_names(named: Iterable[str]) -> dict[str, str]:
    """Where two files have a class of one name, msgspec writes the whole module: ours become ``StateOfHealth``."""
    short: dict[str, str] = {}
    for name in named:
        module, _dot, own = name.rpartition(".")
        title = f"{own}Of{module.rpartition('.')[2].title().replace('_', '')}" if module else name
        if title in short.values():
            raise ValueError(f"two schemas would be named {title}")
        short[name] = title
    return short


def _plain(value: Any, renamed: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _entry(key, item, renamed) for key, item in value.items()}
    return [_plain(item, renamed) for item in value] if isinstance(value, list) else value


def _entry(key: str, item: Any, renamed: dict[str, str]) -> Any:
    if key == "pattern" and isinstance(item, str):
        return re.sub(r"\\Z\Z", "$", re.sub(r"\A\\A", "^", item))
    if key == "$ref" and isinstance(item, str):
        head, _slash, name = item.rpartition("/")
        return f"{head}/{renamed.get(name, name)}"
    if key == "description" and isinstance(item, str):
        return " ".join(item.replace("``", "`").split())
    return _plain(item, renamed)
