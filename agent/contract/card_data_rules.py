"""The rules R1 to R7 against card data, each on text that is already normalised and decoded. Pure.

Source: brand prefixes and lengths of the card schemes, ISO/IEC 7813 for tracks, PCI DSS 3.4.1 for masks. Normalising
and decoding are in ``card_data_decoding.py``; which field is held to which rules is in ``card_data.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

NAMES: Final = frozenset(
    {
        *("pan", "cardno", "cardnumber", "cardnum", "cid", "pin", "pinblock", "expiry", "expirydate", "expdate"),
        *("cvv", "cvv2", "cvc", "cvc2", "cvn", "cvn2", "f2", "f14", "f35", "f36", "f45", "f52", "f55"),
        *("57", "5a", "5f20", "5f24", "9f6b"),
    }
)
_NAME_SEPARATORS: Final = str.maketrans("", "", "_- .")
_QUOTED_NAME: Final = re.compile(r"""["']([^"'\n]{1,40})["']\s{0,8}:""")

TRACK: Final = re.compile(r"%B[0-9]{12,19}\^|[0-9]{12,19}[=D][0-9]{7}", re.IGNORECASE)
WHOLE_TRACK: Final = re.compile(r"\A(?:%B[0-9]{12,19}\^|;?[0-9]{12,19}[=D][0-9]{7})", re.IGNORECASE)
DIGIT_RUN: Final = re.compile(r"[0-9](?:[ .\-]?[0-9]){12,}")
_GROUP: Final = re.compile(r"[0-9]+")
_PAN_LENGTHS: Final = (19, 18, 17, 16, 15, 14, 13)
_BRANDS: Final = (
    ("4", (13, 16, 19)),  # Visa
    *((str(prefix), (16,)) for prefix in range(51, 56)),  # Mastercard
    *((str(prefix), (16,)) for prefix in range(2221, 2721)),
    *((prefix, (15,)) for prefix in ("34", "37")),  # American Express
    *((str(prefix), (16, 17, 18, 19)) for prefix in range(3528, 3590)),  # JCB
    *((prefix, (16, 17, 18, 19)) for prefix in ("6011", "644", "645", "646", "647", "648", "649", "65")),  # Discover
    *((prefix, (14, 16)) for prefix in ("300", "301", "302", "303", "304", "305", "309", "36", "38", "39")),  # Diners
    *((prefix, tuple(range(13, 20))) for prefix in ("50", *map(str, range(56, 70)))),  # Maestro
    *((str(prefix), (16, 17, 18, 19)) for prefix in range(2200, 2205)),  # Mir
)
_LENGTHS_OF_PREFIX: Final = dict(_BRANDS)
_UNIONPAY: Final = ("62", "81")
_LONG_RUN_DIGITS: Final = 20

_UUID: Final = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9A-Za-z])", re.IGNORECASE)
_MASKS: Final = "*#xX•·●○∗■█"
_MASKED: Final = re.compile(f"[0-9{_MASKS}](?:[ .\\-]?[0-9{_MASKS}])+")
_MASK_RUN: Final = re.compile(r"[*•·●○∗■█]+|#{2,}|[xX]{2,}")  # a single # or x is a number sign or a times sign
_SIX_AND_FOUR: Final = re.compile(f"[0-9]{{6}}[{_MASKS}]{{1,9}}[0-9]{{4}}")
_SIX_AND_FOUR_ALONE: Final = re.compile(f"(?<![0-9{_MASKS}])[0-9]{{6}}[{_MASKS}]{{3,9}}[0-9]{{4}}(?![0-9{_MASKS}])")
_LAST_FOUR_ONLY: Final = re.compile(f"[{_MASKS}]{{4}}[0-9]{{4}}")
_SEPARATORS_OUT: Final = str.maketrans("", "", " .-")


def is_forbidden_name(name: str) -> bool:
    """R1: the (normalised) name of a field that would hold card data, whatever its case and separators."""
    plain = name.casefold().translate(_NAME_SEPARATORS)
    return plain in NAMES or plain.startswith("track")


def rule_of_text(text: str, highest: int) -> str | None:
    """The lowest rule up to ``highest`` (5 or 7) that free text breaks, or None."""
    if ('"' in text or "'" in text) and any(is_forbidden_name(name) for name in _QUOTED_NAME.findall(text)):
        return "R1"
    if TRACK.search(text):
        return "R2"
    found = _lowest_of_runs(text)
    if 5 <= found <= highest:  # a UUID's digits look long and random; a card number in its shape was found above
        without = _UUID.sub(_uuid_with_letters_out, text)
        found = found if without == text else _lowest_of_runs(without)
    if found <= min(highest, 6):
        return f"R{found}"
    return "R7" if highest >= 7 and _badly_masked(text) else None


def rule_of_whole_number(text: str) -> str | None:
    """R1 to R4 for an order number: ``text`` is the whole value, normalised, its separators removed."""
    if ('"' in text or "'" in text) and any(is_forbidden_name(name) for name in _QUOTED_NAME.findall(text)):
        return "R1"
    if WHOLE_TRACK.match(text):
        return "R2"
    if 13 <= len(text) <= 19 and text.isdigit():
        if _is_branded(text) and luhn(text):
            return "R3"
        if len(text) >= 16 and text.startswith(_UNIONPAY):
            return "R4"
    return None


def _lowest_of_runs(text: str) -> int:
    lowest = 9
    for run in DIGIT_RUN.finditer(text):
        lowest = min(lowest, _rule_of_digits(run.group()))
        if lowest == 3:
            break
    return lowest


def luhn(digits: str) -> bool:
    """True when the last digit is the Luhn check digit of the others."""
    doubled = "0246813579"
    total = sum(map(int, digits[-1::-2])) + sum(int(doubled[int(digit)]) for digit in digits[-2::-2])
    return total % 10 == 0


def _rule_of_digits(run: str) -> int:
    """3 to 6, or 9 for none: the lowest rule broken by one run of digits with single separators between them."""
    groups = _GROUP.findall(run)
    digits = "".join(groups)
    found = 6 if len(digits) >= _LONG_RUN_DIGITS else 9
    if len(groups) == 1:
        if len(digits) > 19:
            return found
        return min(found, _rule_of_number(digits, _Luhn(digits), 0, len(digits), unbranded=True))
    sums = _Luhn(digits)
    for start, length, groups_taken in _windows(groups):
        alone = groups_taken in (1, len(groups))
        found = min(found, _rule_of_number(digits, sums, start, length, unbranded=alone))
        if found == 3:
            break
    return found


def _windows(groups: list[str]) -> Iterator[tuple[int, int, int]]:
    """(start, length, how many groups) of every row of neighbouring groups that is 13 to 19 digits long."""
    ends = list(accumulate(map(len, groups)))
    start = 0
    for first, group in enumerate(groups):
        for count, end in enumerate(ends[first : first + 19], 1):
            if end - start > 19:
                break
            if end - start >= 13:
                yield start, end - start, count
        start += len(group)


class _Luhn:
    """Prefix sums over a row of digits, so that each stretch of it is checked in constant time."""

    def __init__(self, digits: str) -> None:
        doubled = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
        values = [ord(digit) - 48 for digit in digits]
        even = [doubled[value] if index % 2 == 0 else value for index, value in enumerate(values)]
        odd = [doubled[value] if index % 2 else value for index, value in enumerate(values)]
        self._sums = (list(accumulate(even, initial=0)), list(accumulate(odd, initial=0)))

    def holds(self, start: int, length: int) -> bool:
        sums = self._sums[(start + length) % 2]  # counted from the right, every second digit is doubled
        return (sums[start + length] - sums[start]) % 10 == 0


def _rule_of_number(digits: str, sums: _Luhn, start: int, length: int, *, unbranded: bool) -> int:
    if length not in _PAN_LENGTHS:
        return 9
    holds = sums.holds(start, length)
    if holds and digits[start] in "23456" and _is_branded(digits[start : start + length]):
        return 3
    if length >= 16 and digits.startswith(_UNIONPAY, start):
        return 4
    return 5 if holds and unbranded else 9


def _is_branded(number: str) -> bool:
    return any(len(number) in _LENGTHS_OF_PREFIX.get(number[:size], ()) for size in (1, 2, 3, 4))


def _uuid_with_letters_out(found: re.Match[str]) -> str:
    """A UUID of digits alone stays: it may be a number in disguise."""
    text = found.group()
    return "uuid" if any(character.isalpha() for character in text) else text


def _badly_masked(text: str) -> bool:
    """R7: digits and mask characters of a card number's length, in any other form than six, mask, four."""
    if not _MASK_RUN.search(text):
        return False
    for found in _MASKED.finditer(_SIX_AND_FOUR_ALONE.sub("/", text)):
        token = found.group().translate(_SEPARATORS_OUT)
        if not _MASK_RUN.search(token) or _SIX_AND_FOUR.fullmatch(token):
            continue
        digit_count = sum(character.isdigit() for character in token)
        if (len(token) >= 12 and digit_count >= 4) or _LAST_FOUR_ONLY.search(token):
            return True
    return False
