"""What is done to a text before the rules look at it: Unicode forms made plain, and one level of decoding. Pure.

Full-width and other digits become ASCII, invisible characters go, every kind of space and dash becomes one. Decoded is
one level only: JSON (whole or inside the text), hexadecimal and base64 (padded or not, both alphabets), the whole text
and any run of 18 or more such characters.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Final

MAX_SCANNED_CHARACTERS: Final = 64 * 1024
_MAX_JSON_STARTS: Final = 16
_MAX_LEAVES: Final = 4096
_MIN_RUN: Final = 18  # thirteen digits as base64 without padding

_INVISIBLE_MARKS: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_OTHER_SPACE: Final = re.compile(r"[\t\n\v\f\r\x1c-\x1f\x85\xa0]")
_HEX_RUN: Final = re.compile(r"[0-9A-Fa-f]{18,}")
_BASE64_RUN: Final = re.compile(r"[A-Za-z0-9+/_\-]{18,}")
_SHORT_WHOLE: Final = re.compile(r"[A-Za-z0-9+/_\-]{8,17}={0,2}")  # too short for a number, not for a name in JSON
_BETWEEN_CODES: Final = re.compile(r"[\s:,\-]+|(?<![0-9A-Za-z])(?:0|\\)x", re.IGNORECASE)
_WHITE: Final = re.compile(r"\s+")
_JSON_START: Final = re.compile(r"[\[{]")
_UNICODE_ESCAPE: Final = re.compile(r"\\u([0-9A-Fa-f]{4})")
_decoder: Final = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)


def normalise(text: str) -> str:
    """NFKC, decimal digits of every script as ASCII, invisible characters out, all spaces and dashes alike."""
    if text.isascii():
        return _OTHER_SPACE.sub(" ", text)
    plain = []
    for character in unicodedata.normalize("NFKC", text):
        if character <= "\x7f":
            plain.append(character)
            continue
        kind = unicodedata.category(character)
        if kind == "Nd":
            plain.append(str(unicodedata.decimal(character)))
        elif kind == "Pd" or character == "\u2212":
            plain.append("-")
        elif kind in ("Zs", "Zl", "Zp"):
            plain.append(" ")
        elif kind != "Cf" and character not in _INVISIBLE_MARKS and not "\ufe00" <= character <= "\ufe0f":
            plain.append(character)
    return _OTHER_SPACE.sub(" ", "".join(plain))


def decoded_forms(text: str) -> Iterator[str]:
    """Every text that ``text`` (normalised) may be the encoding of, one level deep; none for ordinary words."""
    if "\\u" in text:
        yield _UNICODE_ESCAPE.sub(lambda found: chr(int(found.group(1), 16)), text).replace("\\/", "/")
    yield from _from_json(text)
    if _SHORT_WHOLE.fullmatch(whole := text.strip()):
        codes = _from_short(whole.rstrip("="))
    elif len(text) < _MIN_RUN:
        return
    else:
        codes = _from_codes(text)
    for raw in codes:
        yield raw.replace(b"\0", b"").decode("utf-8", "replace")


def _from_json(text: str) -> Iterator[str]:
    """Names (as ``"name":``) and values of JSON that is the text, or stands inside it."""
    stripped = text.strip()
    starts = [0] if stripped[:1] == '"' else [found.start() for found in _JSON_START.finditer(stripped)]
    position = 0
    for start in starts[:_MAX_JSON_STARTS]:
        if start < position:
            continue
        try:
            value, position = _decoder.raw_decode(stripped, start)
        except (ValueError, RecursionError):
            continue
        yield from _leaves(value)


def _leaves(value: object) -> Iterator[str]:
    waiting = [value]
    for _count in range(_MAX_LEAVES):
        if not waiting:
            return
        item = waiting.pop()
        if isinstance(item, dict):
            for name, inner in item.items():
                yield f'"{name}":'
                waiting.append(inner)
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, str):
            yield item


def _from_short(whole: str) -> Iterator[bytes]:
    """A whole text of fewer than 18 characters of either code."""
    with contextlib.suppress(ValueError):
        yield bytes.fromhex(whole)
    yield _base64(whole)


def _from_codes(text: str) -> Iterator[bytes]:
    seen = set()
    hexadecimal = _BETWEEN_CODES.sub("", text)
    for run in (*_HEX_RUN.findall(text), *(_HEX_RUN.findall(hexadecimal) if hexadecimal != text else ())):
        if run not in seen:
            seen.add(run)
            yield bytes.fromhex(run[: len(run) // 2 * 2])
            yield bytes.fromhex(run[1 : 1 + (len(run) - 1) // 2 * 2])
    joined = _WHITE.sub("", text)
    for run in (*_BASE64_RUN.findall(text), *(_BASE64_RUN.findall(joined) if joined != text else ())):
        if run in seen or run.isdigit():
            continue
        seen.add(run)
        for shift in range(4):  # the run may begin with letters that do not belong to it
            yield _base64(run[shift:])


def _base64(run: str) -> bytes:
    whole = run[: len(run) // 4 * 4] if len(run) % 4 == 1 else run
    try:
        return base64.b64decode(whole.replace("-", "+").replace("_", "/") + "=" * (-len(whole) % 4))
    except binascii.Error:
        return b""
