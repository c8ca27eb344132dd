"""The guard against card data: which text is held to which rules, at the doors and as the last net under the logs.

Rules R1 to R7 stand in ``card_data_rules.py``, normalising and decoding in ``card_data_decoding.py``. Every function
answers with the rule alone ("R3"), never with the value, its length or a hash of it. Pure; no logging.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from agent.contract.canonical_json import NotAnInteger
from agent.contract.card_data_decoding import MAX_SCANNED_CHARACTERS, decoded_forms, normalise
from agent.contract.card_data_rules import (
    DIGIT_RUN,
    TRACK,
    is_forbidden_name,
    rule_of_text,
    rule_of_whole_number,
)

FREE_TEXT: Final = 7
"""Highest rule for text that people write."""
IDENTIFIER: Final = 5
"""Highest rule for identifiers, values of wrong form, and everything unknown."""
UNKNOWN_FIELD: Final = "(unknown)"
HINTS: Final = {"R6": "put long numbers into their own field", "R7": "send masked 6+4 only"}
DEFAULT_HINT: Final = "send masked 6+4 only"

_HARMLESS: Final = re.compile(r"[A-Za-z ,;!?()_]{0,17}|[0-9]{1,12}")
_SEPARATORS_OUT: Final = str.maketrans("", "", " .-")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LOOKS_LIKE: Final = re.compile(
    r"(?P<digest>(?<![0-9A-Za-z])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})"
    rf"(?![0-9A-Za-z]))|(?:{TRACK.pattern})[^\s?]*|{DIGIT_RUN.pattern}",
    re.IGNORECASE,
)
_NOT_IN_TRACK: Final = re.compile(r"[abcef]")


class Finding(NamedTuple):
    """Where card data was found: the field's own name (or ``(unknown)``) and the rule, R1 to R7."""

    field: str
    rule: str


def scan_text(text: str, highest: int = FREE_TEXT) -> str | None:
    """The rule that free text breaks, or None: decoded forms before the text itself, of several the lowest number.

    Args:
        highest: `FREE_TEXT` or `IDENTIFIER`.
    """
    if _HARMLESS.fullmatch(text):
        return None
    plain = normalise(text[:MAX_SCANNED_CHARACTERS])
    decoded = {rule for form in decoded_forms(plain) if (rule := rule_of_text(normalise(form), highest))}
    return min(decoded) if decoded else rule_of_text(plain, highest)


def scan_order_number(text: str) -> str | None:
    """The rule (R1 to R4) that an order number breaks as a whole, without decoding, or None."""
    return rule_of_whole_number(normalise(text[:MAX_SCANNED_CHARACTERS]).translate(_SEPARATORS_OUT))


def scan_value(field_name: str, value: object) -> str | None:
    """The rule that any JSON value in a field of any name breaks: its name, its texts, its numbers, however deep."""
    finding = scan_tree({field_name: value})
    return finding.rule if finding else None


def scan_request_id(value: object) -> str | None:
    """The rule that the ``id`` of a JSON-RPC request breaks, or None; a UUID is not scanned."""
    if isinstance(value, str) and _UUID.fullmatch(value):
        return None
    return _scan_leaf(value)


def scan_tree(params: object, where: str = "") -> Finding | None:
    """Names (R1) and all texts and numbers (up to R5) of a JSON value whose form is not known; the lowest rule found.

    Args:
        where: The known field that ``params`` was taken from, if any.
    """
    lowest: Finding | None = None
    waiting: list[tuple[str, object]] = [(where, params)]
    while waiting:
        field, value = waiting.pop()
        if isinstance(value, Mapping):
            for name, item in value.items():
                rule = scan_name(str(name))
                lowest = _lower(lowest, Finding(field or UNKNOWN_FIELD, rule)) if rule else lowest
                waiting.append((field, item))
        elif isinstance(value, list | tuple):
            waiting.extend((field, item) for item in value)
        elif rule := _scan_leaf(value):
            lowest = _lower(lowest, Finding(field or UNKNOWN_FIELD, rule))
    return lowest


def scan_name(name: str) -> str | None:
    """The rule that the name of an unknown field breaks: R1 for what it says, or another for digits in it."""
    return "R1" if is_forbidden_name(normalise(name[:200])) else scan_text(name, IDENTIFIER)


def redact(text: str) -> str:
    """``text`` for a log: what looks like a track or a card number (R2 to R4) is replaced by ``[redacted R3]``.

    UUIDs and hexadecimal digests stay. Nothing is decoded here: the doors did that before anything was logged.
    """
    if text.isascii():
        if not DIGIT_RUN.search(text) and not TRACK.search(text):
            return text
        return _LOOKS_LIKE.sub(_redacted, text)
    plain = normalise(text)
    redacted = _LOOKS_LIKE.sub(_redacted, plain)
    return text if redacted == plain else redacted


def _redacted(found: re.Match[str]) -> str:
    if found["digest"] and _NOT_IN_TRACK.search(found["digest"]):
        return found.group()  # it has letters that no track and no card number has
    rule = rule_of_text(found.group(), 4)
    return f"[redacted {rule}]" if rule else found.group()


def _scan_leaf(value: object) -> str | None:
    if isinstance(value, str):
        return scan_text(value, IDENTIFIER)
    if isinstance(value, NotAnInteger):
        return scan_text(value.text_for_guard(), IDENTIFIER)
    if isinstance(value, int) and not isinstance(value, bool) and not -(10**12) < value < 10**12:
        return scan_text(_digits(value), IDENTIFIER)
    return None


def _digits(value: int) -> str:
    """Decimal digits of an integer; one beyond any card number's length is cut short rather than converted."""
    return str(abs(value)) if value.bit_length() < 256 else ""


def _lower(first: Finding | None, second: Finding) -> Finding:
    return second if first is None or second.rule < first.rule else first
