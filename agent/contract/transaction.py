"""Strict decoding of a transaction record, and its natural key. Pure: parsed JSON in, frozen record or error out.

The forms of the fields stand in ``transaction_form.py``, what may follow what in ``transaction_states.py``. No value
that was refused is in any error; card data anywhere is named before any other fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from datetime import datetime
from typing import Final, NamedTuple, get_type_hints

import msgspec
from msgspec import Struct

from agent.contract import card_data
from agent.contract.canonical_json import NotCanonical, canonical_checked
from agent.contract.card_data import Finding
from agent.contract.transaction_form import MTI_CLASS, REQUIRED, SETTLEMENT_ONLY, RecordFields
from agent.errors import BadRequest, CardDataRejected

Bindings = Set[tuple[str, str, str]]
"""(provider, mid, tid) of every present and former binding."""

_TYPES: Final = get_type_hints(RecordFields, include_extras=True)
_ORDER_NUMBERS: Final = ("merchant_order_no", "provider_txn_no", "receipt_no")
_BINDING: Final = ("provider", "mid", "tid")
_IDENTIFIERS: Final = (*_BINDING, "scheme", "channel")
_FIELD_IN_MESSAGE: Final = re.compile(r"at `\$\.([a-z_.\[\]0-9]+)`\Z")
_MISSING_IN_MESSAGE: Final = re.compile(r"missing required field `([a-z_]+)`(?: - at `\$\.([a-z_\[\]0-9.]+)`)?\Z")


class NaturalKey(NamedTuple):
    """What makes a message of a terminal unique besides its id; another id under the same key is a suspected twin."""

    provider: str
    mid: str
    tid: str
    batch_no: str
    stan: str
    mti_class: str
    local_date: str


class TransactionRecord(Struct, frozen=True, gc=False):
    """A record of right form and without card data. ``canonical`` is exactly what was received, as RFC 8785 bytes."""

    fields: RecordFields
    canonical: bytes

    @property
    def attempt(self) -> int:
        """1 when the sender left it out."""
        return self.fields.attempt or 1

    @property
    def binding(self) -> tuple[str, str, str]:
        return self.fields.provider, self.fields.mid, self.fields.tid

    @property
    def natural_key(self) -> NaturalKey | None:
        """None where the type has no batch or STAN."""
        fields = self.fields
        if fields.batch_no is None or fields.stan is None:
            return None
        return NaturalKey(*self.binding, fields.batch_no, fields.stan, mti_class(fields), fields.local_at[:10])


def mti_class(fields: RecordFields) -> str:
    """Second digit of the MTI: 1 authorise, 2 financial, 4 reversal, 5 reconcile, 8 network; by type without MTI."""
    return fields.mti[1] if fields.mti is not None else MTI_CLASS[fields.type]


def decode_record(params: Mapping[str, object], bindings: Bindings) -> TransactionRecord:
    """Check a record's every field, then look for card data.

    Args:
        params: The record as parsed JSON; a number with fraction or exponent stands as `NotAnInteger`.
        bindings: A ``mid`` or ``tid`` that belongs to none of them is scanned like text.

    Raises:
        CardDataRejected: ``field`` and ``facts['rule']``; also when the form is wrong besides.
        BadRequest: ``field`` is the first field of wrong form, or ``(unknown)``.
    """
    if not isinstance(params, Mapping):
        raise BadRequest("a record is a JSON object", hint="send an object with the record's fields")
    try:
        fields = msgspec.convert(params, RecordFields)
        canonical_bytes = _checked(fields, params)
    except (msgspec.ValidationError, BadRequest, NotCanonical) as err:
        fault = err
    else:
        if finding := _scan_known(params, fields, bindings):
            raise _rejected(finding)
        return TransactionRecord(fields, canonical_bytes)
    if finding := _scan_unknown(params, bindings):
        raise _rejected(finding)
    if isinstance(fault, BadRequest):
        raise fault
    field = _named(str(fault)) if isinstance(fault, msgspec.ValidationError) else _field_not_text(params)
    what = "a required field is missing" if "missing required field" in str(fault) else "a field has a wrong form"
    raise BadRequest(
        "a field is not known" if field == card_data.UNKNOWN_FIELD else f"{what}: {field}",
        field=field,
        hint="correct the record; unchanged it is refused again",
    )


def _checked(fields: RecordFields, params: Mapping[str, object]) -> bytes:
    """What forms alone do not say: the type's own fields, calendar dates, no null. Returns the canonical bytes."""
    for name in REQUIRED[fields.type]:
        if getattr(fields, name) is None:
            raise BadRequest(f"this type requires {name}", field=name, hint="send the field")
    if fields.type != "settlement" and (fields.totals is not None or fields.balanced is not None):
        name = next(name for name in SETTLEMENT_ONLY if getattr(fields, name) is not None)
        raise BadRequest(f"{name} belongs to a settlement only", field=name, hint="leave the field out")
    if fields.original is not None and not params["original"]:
        raise BadRequest("original names nothing", field="original", hint="send at least one field of the original")
    try:
        datetime.fromisoformat(fields.local_at)
    except ValueError:
        raise BadRequest("local_at is no time of the calendar", field="local_at", hint="RFC 3339 with offset") from None
    _refuse_null(params, "")
    if fields.original is not None:
        _refuse_null(params["original"], "original.")
    return canonical_checked(params)


def _refuse_null(holder: object, prefix: str) -> None:
    if isinstance(holder, Mapping) and None in holder.values():
        name = next(name for name, value in holder.items() if value is None)
        raise BadRequest(f"{prefix}{name} is null", field=f"{prefix}{name}", hint="leave an empty field out")


def _scan_known(params: Mapping[str, object], fields: RecordFields, bindings: Bindings) -> Finding | None:
    """The lowest rule broken by a record whose form is right; its exact fields cannot hold card data."""
    findings: list[Finding] = []
    for name in _ORDER_NUMBERS:
        value = params.get(name)
        if value is not None and (rule := card_data.scan_order_number(str(value))):
            findings.append(Finding(name, rule))
    if fields.original is not None and isinstance(params["original"], Mapping):
        found = _scan_original(params["original"])
        findings += [found] if found else []
    known = (fields.provider, fields.mid, fields.tid) in bindings
    for name in _IDENTIFIERS[len(_BINDING) :] if known else _IDENTIFIERS:
        value = params.get(name)
        if value is not None and (rule := card_data.scan_text(str(value), card_data.IDENTIFIER)):
            findings.append(Finding(name, rule))
    if fields.memo is not None and (rule := card_data.scan_text(fields.memo)):
        findings.append(Finding("memo", rule))
    return min(findings, key=lambda finding: finding.rule, default=None)


def _scan_unknown(params: Mapping[str, object], bindings: Bindings) -> Finding | None:
    """The lowest rule broken by a record of wrong form: each field by its own rules when that field is right."""
    binding = tuple(params.get(name) for name in ("provider", "mid", "tid"))
    known = all(isinstance(part, str) for part in binding) and binding in bindings
    findings: list[Finding | None] = []
    for name, value in params.items():
        if name not in _TYPES:
            rule = card_data.scan_name(str(name))
            findings += [Finding(card_data.UNKNOWN_FIELD, rule) if rule else None, card_data.scan_tree(value)]
            continue
        right = _is_right(name, value)
        rule = None
        if name == "memo" and isinstance(value, str):
            rule = card_data.scan_text(value)
        elif name == "masked_pan" and isinstance(value, str):
            rule = None if right else card_data.scan_text(value)
        elif name in _ORDER_NUMBERS and right:
            rule = card_data.scan_order_number(str(value))
        elif name == "original" and isinstance(value, Mapping):
            findings += [_scan_original(value) if right else card_data.scan_tree(value, name)]
        elif not right or (name in _IDENTIFIERS and not (known and name in _BINDING)):
            findings.append(card_data.scan_tree(value, name))
        findings.append(Finding(name, rule) if rule else None)
    return min(filter(None, findings), key=lambda finding: finding.rule, default=None)


def _scan_original(original: Mapping[str, object]) -> Finding | None:
    """The order numbers of an ``original`` of right form; its other fields are exact."""
    for name in _ORDER_NUMBERS[:2]:
        value = original.get(name)
        if value is not None and (rule := card_data.scan_order_number(str(value))):
            return Finding(f"original.{name}", rule)
    return None


def _is_right(name: str, value: object) -> bool:
    """True when ``value`` has the exact form of the field ``name``."""
    try:
        msgspec.convert(value, _TYPES[name])
    except msgspec.ValidationError:
        return False
    return True


def _rejected(finding: Finding) -> CardDataRejected:
    hint = card_data.HINTS.get(finding.rule, card_data.DEFAULT_HINT)
    return CardDataRejected("card data is never taken", field=finding.field, hint=hint, rule=finding.rule)


def _named(message: str) -> str:
    """The field that a refusal of msgspec is about; a name that is not ours is never repeated."""
    if message.startswith("Object contains unknown field"):
        return card_data.UNKNOWN_FIELD
    missing = _MISSING_IN_MESSAGE.search(message)
    if missing:
        return f"{missing[2]}.{missing[1]}" if missing[2] else missing[1]
    found = _FIELD_IN_MESSAGE.search(message)
    return found[1] if found else card_data.UNKNOWN_FIELD


def _field_not_text(params: Mapping[str, object]) -> str:
    """The first field holding text that no UTF-8 can carry."""
    for name, value in params.items():
        try:
            canonical_checked(value)
        except NotCanonical:
            return name
    return card_data.UNKNOWN_FIELD
