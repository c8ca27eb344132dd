"""RFC 8785 (JSON Canonicalization Scheme) for what a record may hold: the bytes that are hashed.

Objects, arrays, strings, integers, booleans and null. Fractions and exponents do not occur in the product's records
(amounts are integers of minor units), so the number formatting of the RFC is left out and such values are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""RFC 8785 takes numbers as IEEE doubles: a larger integer has no one form that every reader agrees on."""
MAX_DEPTH: Final = 64

_encoder = msgspec.json.Encoder(order="sorted")


class NotAnInteger:
    """A JSON number with a fraction or an exponent, as the wire layer hands it on: every field refuses it.

    Its text may be card data, so nothing shows it: not ``repr``, not ``str``, not a log. Only the guard asks for it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def text_for_guard(self) -> str:
        """The number as it was written; for the card-data guard alone."""
        return self._text

    def __repr__(self) -> str:
        return "NotAnInteger()"


class NotCanonical(ValueError):
    """The value has no canonical form here: a fraction, a lone surrogate, a huge integer, or something not JSON."""


def canonical(value: object) -> bytes:
    """The canonical UTF-8 bytes of any JSON value without fractions.

    Raises:
        NotCanonical: The message names the kind of problem, never the value.
    """
    astral_names = _check(value, 0)
    return canonical_checked(_sorted_as_utf16(value) if astral_names else value, keep_order=astral_names)


def canonical_checked(value: object, *, keep_order: bool = False) -> bytes:
    """The same for a value whose forms were checked field by field already (integers in range, plain names).

    Args:
        keep_order: The names stand in their canonical order already.

    Raises:
        NotCanonical: A string holds a lone surrogate.
    """
    try:
        return msgspec.json.encode(value) if keep_order else _encoder.encode(value)
    except UnicodeEncodeError:
        pass  # the error holds the whole text: it must not become the context of ours
    raise NotCanonical("a string holds half a surrogate pair")


def _check(value: object, depth: int) -> bool:
    """Refuse what has no canonical form; True when a name needs UTF-16 order (a character beyond U+FFFF)."""
    if depth > MAX_DEPTH:
        raise NotCanonical("nested too deeply")
    if value is None or isinstance(value, bool | str):
        return False
    if isinstance(value, int):
        if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            raise NotCanonical("an integer beyond 53 bits")
        return False
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise NotCanonical("a name that is no text")
        astral = any(not name.isascii() and max(name) > "\uffff" for name in value)
        inner = [_check(item, depth + 1) for item in value.values()]
        return astral or any(inner)
    if isinstance(value, list | tuple):
        inner = [_check(item, depth + 1) for item in value]  # every item is checked
        return any(inner)
    raise NotCanonical(f"a value of kind {type(value).__name__}")


def _sorted_as_utf16(value: object) -> object:
    """Names in the order of their UTF-16 code units; the encoder's own order is by code point."""
    if isinstance(value, Mapping):
        ordered = sorted(value, key=lambda name: str(name).encode("utf-16-be", "surrogatepass"))
        return {name: _sorted_as_utf16(value[name]) for name in ordered}
    if isinstance(value, list | tuple):
        return [_sorted_as_utf16(item) for item in value]
    return value
