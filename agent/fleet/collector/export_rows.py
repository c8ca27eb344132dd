"""One stored entry → one flat row of an export: every field of a record, money also as decimals, times in UTC. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from agent.contract.currencies import CURRENCIES, decimal_text
from agent.contract.transaction_form import RecordFields
from agent.fleet.collector.reading import Held, StoredEntry, utc, utc_text

Value = str | int | None
_FIELDS: Final = tuple(field.name for field in msgspec.structs.fields(RecordFields))
_MONEY: Final = {
    "amount_minor": "amount",
    "tip_minor": "tip",
    "cashback_minor": "cashback",
    "surcharge_minor": "surcharge",
}
_PLACE: Final = ("site", "terminal", "journal_id", "sequence", "recorded_at", "received_at")
_ADDED: Final = ("amount", "currency_name", "tip", "cashback", "surcharge", "local_at_utc", "other_fields")
_MARKS: Final = ("conflict_with", "duplicate_of", "mark", "hash")
COLUMNS: Final = (*_PLACE, *_FIELDS, *_ADDED, *_MARKS)
"""Every column, in order. ``other_fields``: what this release does not know, as JSON; so are ``dcc``, ``original`` …"""
NUMBERS: Final = frozenset(
    {"sequence", "conflict_with", "amount_minor", "tip_minor", "cashback_minor", "surcharge_minor", "attempt"}
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


class Wanted(NamedTuple):
    """Which entries: recorded from ``since`` on and before ``until``, of one batch."""

    since: datetime | None = None
    until: datetime | None = None
    batch: str | None = None

    def takes(self, at: str, record: Mapping[str, Any]) -> bool:
        if self.batch is not None and record.get("batch_no") != self.batch:
            return False
        if self.since is None and self.until is None:
            return True
        recorded = _time(at)
        if recorded is None:
            return False
        return (self.since is None or recorded >= self.since) and (self.until is None or recorded < self.until)


def document(held: Held, entry: StoredEntry, record: Mapping[str, Any]) -> dict[str, Any]:
    """An entry as one NDJSON document: what the terminal sent, unchanged, with whose it is."""
    found: dict[str, Any] = {
        "site": held.site,
        "terminal": held.terminal,
        "kind": held.place.kind,
        "journal_id": held.journal.journal_id,
        "seq": entry.sequence,
        "at": entry.at,
        "received_at": utc_text(utc(entry.received_ms)),
        "record": record,
        "hash": entry.hash.hex(),
    }
    if entry.mark is not None:
        found["mark"] = msgspec.json.decode(entry.mark)
    amounts = {name: text for field, name in _MONEY.items() if (text := _amount(record, field)) is not None}
    if amounts:
        found["amounts"] = {**amounts, "currency": _currency_name(record)}
    return found


def flat(held: Held, entry: StoredEntry, record: Mapping[str, Any]) -> dict[str, Value]:
    """An entry as a row with the `COLUMNS`; what it has not is None."""
    mark: dict[str, Any] = msgspec.json.decode(entry.mark) if entry.mark is not None else {}
    row: dict[str, Value] = dict.fromkeys(COLUMNS)
    row |= {
        "site": held.site,
        "terminal": held.terminal,
        "journal_id": held.journal.journal_id,
        "sequence": entry.sequence,
        "recorded_at": _utc_or_same(entry.at),
        "received_at": utc_text(utc(entry.received_ms)),
    }
    row |= {name: _value(record[name]) for name in _FIELDS if name in record}
    row |= {name: _amount(record, field) for field, name in _MONEY.items()}
    row["currency_name"] = _currency_name(record)
    if isinstance(local_at := record.get("local_at"), str):
        row["local_at_utc"] = _utc_or_same(local_at)
    others = {name: value for name, value in record.items() if name not in _FIELDS}
    row["other_fields"] = msgspec.json.encode(others).decode() if others else None
    row["conflict_with"], row["duplicate_of"] = mark.get("conflict_with"), mark.get("duplicate_of")
    row["mark"] = entry.mark
    row["hash"] = entry.hash.hex()
    return row


def csv_cell(value: Value) -> str:
    """Text that no spreadsheet takes for a formula: one that would begin as one begins with ``'`` instead.

    Source: OWASP, "CSV Injection".
    """
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _value(value: object) -> Value:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return int(value)
    return value if isinstance(value, int) else msgspec.json.encode(value, order="sorted").decode()


def _amount(record: Mapping[str, Any], field: str) -> str | None:
    amount, currency = record.get(field), record.get("currency")
    if not isinstance(amount, int) or not isinstance(currency, str):
        return None
    return decimal_text(amount, currency)


def _currency_name(record: Mapping[str, Any]) -> str | None:
    currency = record.get("currency")
    return CURRENCIES[currency][0] if isinstance(currency, str) and currency in CURRENCIES else None


def _time(text: str) -> datetime | None:
    """A time with its offset; None where the calendar has no such time."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _utc_or_same(text: str) -> str:
    at = _time(text)
    return text if at is None else at.isoformat().replace("+00:00", "Z")
