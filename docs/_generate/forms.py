"""The form of a field in words, for tables: "integer 1 to 65535", "`5` or `3.1.1`", "text, at most 256 characters"."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from agent.contract.unit_name import UNIT_PATTERN
from docs._generate.schemas import components, key_of

_KNOWN_PATTERNS = {
    "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$": "id",
    "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$": "UUID in lower case",
    "^[0-9]{6}$": "six digits of text",
    "^[0-9]{4}$": "four digits of text",
    "^[0-9]{3}$": "three digits of text",
    "^[0-9]{2}$": "two digits of text",
    "^[0-9A-Za-z]{12}$": "twelve letters or digits",
    "^[0-9A-Za-z]{6}$": "six letters or digits",
    "^[0-9A-Za-z]{2}$": "two letters or digits",
    "^/": "absolute path",
    r"^/[^\x00-\x1f]{0,4000}$": "absolute path",
    "^[!-~]{1,253}$": "name or address of a host",
    "^[A-Za-z0-9:][A-Za-z0-9.:_-]{0,252}$": "name or address of a host",
    "^[A-Za-z0-9._-]{1,32}$": "1 to 32 of letters, digits, `.` `_` `-`",
    "^[A-Za-z0-9._-]{1,15}$": "1 to 15 of letters, digits, `.` `_` `-`",
    "^[A-Za-z0-9._-]{1,8}$": "1 to 8 of letters, digits, `.` `_` `-`",
    r"^[^/\s]{1,15}$": "name of a network interface",
    r"^[0-9]{6}\*{2,9}[0-9]{4}$": "six digits, 2 to 9 `*`, four digits",
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})$": (
        "RFC 3339 with offset"
    ),
    "^(?:[0-9]{4}-)?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12][0-9]|3[01])$": "`MMDD`, `MM-DD` or `YYYY-MM-DD`",
    UNIT_PATTERN.replace("\\Z", "$"): "name of a systemd service",
}


def form_of(kind: Any) -> str:
    """Words for one type."""
    schema_of, named = components([kind])
    return _words(next(iter(schema_of.values())) if schema_of else {}, named)


def form_of_field(kind: type[Struct], name: str) -> str:
    """Words for one field of a struct, constraints included."""
    schema_of, named = components([kind])
    top = _resolved(schema_of[key_of(kind)], named)
    return _words(top["properties"][name], named)


def default_of(field: msgspec.structs.FieldInfo) -> str:
    """A default as it would be written; empty for a required field or one that is simply absent."""
    if field.required or field.default in (None, msgspec.NODEFAULT):
        return ""
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    if isinstance(field.default, str):
        return f'`"{field.default}"`'
    return f"`{field.default}`" if isinstance(field.default, int | float) else ""


def _resolved(schema: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    return named[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _words(schema: dict[str, Any], named: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    schema = _resolved(schema, named)
    if "anyOf" in schema:
        return " or ".join(_words(one, named) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    match schema.get("type"):
        case "integer" | "number":
            return _number(schema)
        case "string":
            return _text(schema)
        case "boolean":
            return "`true` or `false`"
        case "array":
            most = f", at most {schema['maxItems']}" if "maxItems" in schema else ""
            return f"list of: {_words(schema.get('items', {}), named)}{most}"
        case "object":
            return f"`{name}`" if name else "object"
    return f"`{name}`" if name else "any JSON"


def _number(schema: dict[str, Any]) -> str:
    kind = "integer" if schema["type"] == "integer" else "number"
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high = schema.get("maximum")
    if low is not None and high is not None:
        return f"{kind} {low} to {high}"
    if above is not None and high is not None:
        return f"{kind} above {above}, at most {high}"
    return f"{kind}, at least {low}" if low is not None else kind


def _text(schema: dict[str, Any]) -> str:
    pattern = schema.get("pattern")
    if pattern is not None:
        return _KNOWN_PATTERNS.get(pattern, f"`{pattern}`")
    if schema.get("format") == "date-time":
        return "RFC 3339 with offset"
    if "maxLength" in schema:
        return f"text, at most {schema['maxLength']} characters"
    return "text"
