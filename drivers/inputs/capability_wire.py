"""The kernel's capability bitmaps of input devices: text to a set of numbers. Pure.

Source: ``input_bits_to_string`` of the kernel's input core and ``linux/input-event-codes.h``. A bitmap is hexadecimal
words as wide as the kernel's ``unsigned long`` (as this process sees it), the highest first, without leading zeros.
"""

from __future__ import annotations

import re
import struct

NATIVE_WORD_BITS = struct.calcsize("@L") * 8

BTN_MISC = 0x100  # keys lie below; buttons of mice, pens and panels from here to BTN_LAST
KEY_OK = 0x160  # and keys again from here
BTN_TOUCH = 0x14A
ABS_X, ABS_Y, ABS_MT_POSITION_X, ABS_MT_POSITION_Y = 0x00, 0x01, 0x35, 0x36
INPUT_PROP_DIRECT = 0x01

_BITMAP = re.compile(rb"[0-9a-f]{1,16}(?: [0-9a-f]{1,16}){0,63}\n?")


def parse_bitmap(text: bytes, word_bits: int = NATIVE_WORD_BITS) -> frozenset[int]:
    """Numbers of the bits that are set.

    Raises:
        ValueError: Not such a bitmap, or a word wider than ``word_bits``.
    """
    if not _BITMAP.fullmatch(text):
        raise ValueError("is no bitmap of hexadecimal words")
    bits = 0
    for word in text.split():
        value = int(word, 16)
        if value >> word_bits:
            raise ValueError(f"has a word of more than {word_bits} bits")
        bits = bits << word_bits | value
    return set_bits(bits)


def set_bits(bits: int) -> frozenset[int]:
    """Numbers of the bits that are 1; only those are visited."""
    found = []
    while bits:
        lowest = bits & -bits
        found.append(lowest.bit_length() - 1)
        bits ^= lowest
    return frozenset(found)


def format_bitmap(numbers: frozenset[int], word_bits: int = NATIVE_WORD_BITS) -> bytes:
    """The other way, as the kernel writes it; for emulators."""
    words, bits = [], sum(1 << number for number in numbers)
    while bits:
        words.append(f"{bits & (1 << word_bits) - 1:x}")
        bits >>= word_bits
    return " ".join(reversed(words or ["0"])).encode() + b"\n"


def keys_of(codes: frozenset[int]) -> frozenset[int]:
    """Those of the EV_KEY codes that are keys, not buttons of a mouse, a pen or a panel."""
    return frozenset(code for code in codes if 0 < code < BTN_MISC or code >= KEY_OK)


def is_touch_panel(keys: frozenset[int], axes: frozenset[int], properties: frozenset[int]) -> bool:
    """It says where it is touched, that it is touched, and that touching acts directly on what is shown there."""
    places = {ABS_X, ABS_Y} <= axes or {ABS_MT_POSITION_X, ABS_MT_POSITION_Y} <= axes
    return places and BTN_TOUCH in keys and INPUT_PROP_DIRECT in properties
