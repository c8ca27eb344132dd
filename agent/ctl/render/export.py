"""Journal entries → lines of a file for other programs: CSV (RFC 4180) or NDJSON. Pure.

NDJSON holds the record exactly as it was received, so that whoever has the file can compute the chain again. CSV is
for spreadsheets: every field has its column, amounts stand in minor units and beside them as people write them. A
spreadsheet takes a text that begins with ``=``, ``+``, ``-`` or ``@`` for a formula; such a text gets a ``'`` in front
(OWASP, "CSV Injection").
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Final

import msgspec
from msgspec import Struct

from agent.contract.currencies import CURRENCIES
from agent.contract.transaction_form import Dcc, Original, RecordFields
from agent.ctl.render.money import decimal

FORMATS: Final = ("csv", "ndjson")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_MINOR: Final = "_minor"
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {"dcc": Dcc.__struct_fields__, "original": Original.__struct_fields__}
_FIELDS: Final = RecordFields.__struct_fields__


class ExportedEntry(Struct, frozen=True):
    """An entry as the agent lists it. ``record`` and ``mark`` stay as they came."""

    seq: int
    at: str
    record: msgspec.Raw
    hash: str = ""
    mark: msgspec.Raw = msgspec.Raw(b"null")


def _columns_of(name: str) -> list[str]:
    if name in _PARTS:
        return [column for part in _PARTS[name] for column in _columns_of(f"{name}_{part}")]
    if name.endswith(_MINOR):
        return [name, name.removesuffix(_MINOR)]
    return [name, f"{name}_code"] if name.endswith("currency") else [name]


COLUMNS: Final = (
    *("seq", "at", "at_here"),
    *(column for field in _FIELDS for column in _columns_of(field)),
    *("conflict_with", "duplicate_of", "hash", "other"),
)
"""``at_here``: when it was stored, by this machine's clock; ``other``: fields that this program does not know."""


def csv_lines(entries: Sequence[ExportedEntry], zone: tzinfo | None) -> bytes:
    """Lines without their heading; each ends with CR LF."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    for entry in entries:
        cells = _cells(entry, zone)
        writer.writerow([cells.get(column, "") for column in COLUMNS])
    return text.getvalue().encode("utf-8", "backslashreplace")


def csv_heading() -> bytes:
    return ",".join(COLUMNS).encode() + b"\r\n"


def ndjson_lines(entries: Sequence[ExportedEntry], zone: tzinfo | None) -> bytes:
    """One object a line: the entry as it is, and beside it ``at_here`` and ``amounts``, as people write them."""
    return b"".join(msgspec.json.encode(_document(entry, zone)) + b"\n" for entry in entries)


def _document(entry: ExportedEntry, zone: tzinfo | None) -> dict[str, object]:
    document: dict[str, object] = {"seq": entry.seq, "at": entry.at, "record": entry.record, "hash": entry.hash}
    if bytes(entry.mark) != b"null":
        document["mark"] = entry.mark
    return {**document, "at_here": _here(entry.at, zone), "amounts": _amounts(_read(entry.record))}


def _amounts(record: Mapping[str, object]) -> dict[str, object]:
    """``{"amount": "123.45", "currency": "CNY", …}``; of an unlisted currency nothing is said."""
    currency = record.get("currency")
    if not isinstance(currency, str) or currency not in CURRENCIES:
        return {}
    shown: dict[str, object] = {"currency": CURRENCIES[currency][0]}
    for name, value in record.items():
        if name.endswith(_MINOR) and isinstance(value, int):
            shown[name.removesuffix(_MINOR)] = decimal(value, currency)
    return shown


def _cells(entry: ExportedEntry, zone: tzinfo | None) -> dict[str, object]:
    record, mark = _read(entry.record), _read(entry.mark)
    cells: dict[str, object] = {
        "seq": entry.seq,
        "at": _text(entry.at),
        "at_here": _here(entry.at, zone),
        "hash": _text(entry.hash),
        **{name: _text(mark.get(name)) for name in ("conflict_with", "duplicate_of")},
    }
    other: dict[str, object] = {}
    for name, value in record.items():
        if name in _PARTS and isinstance(value, dict):
            known = {part: inner for part, inner in value.items() if part in _PARTS[name]}
            _fill(cells, f"{name}_", known)
            if left := {part: inner for part, inner in value.items() if part not in known}:
                other[name] = left
        elif name in _FIELDS:
            _fill(cells, "", {name: value}, record.get("currency"))
        else:
            other[name] = value
    return {**cells, "other": _text(other or None)}


def _fill(cells: dict[str, object], prefix: str, fields: Mapping[str, object], currency: object = None) -> None:
    currency = fields.get("currency", currency)
    number = currency if isinstance(currency, str) else None
    for name, value in fields.items():
        cells[prefix + name] = _text(value)
        if name.endswith(_MINOR) and isinstance(value, int):
            cells[prefix + name.removesuffix(_MINOR)] = decimal(value, number)
        elif name == "currency":
            cells[f"{prefix}currency_code"] = CURRENCIES[number][0] if number in CURRENCIES else ""


def _text(value: object) -> object:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers, lists and objects become JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return value
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f"'{text}" if text.startswith(_FORMULA) else text


def _here(at: str, zone: tzinfo | None) -> str:
    """The same instant with this machine's offset; empty for a time of another form."""
    try:
        return datetime.fromisoformat(at).astimezone(zone).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError):
        return ""


def _read(raw: msgspec.Raw) -> dict[str, object]:
    found: object = msgspec.json.decode(raw)
    return found if isinstance(found, dict) else {}
