"""Events of a Linux input node: bytes to events, and the numbers of its requests. No I/O in this file.

Source: ``linux/input.h``, ``linux/input-event-codes.h``, ``asm-generic/ioctl.h`` (x86 and ARM share it). An event is
``struct input_event`` with this process's own ``unsigned long``: 24 bytes, or 16 on a 32-bit system.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from drivers.inputs.capability_wire import set_bits

EV_SYN, EV_KEY = 0x00, 0x01
SYN_REPORT, SYN_DROPPED = 0x00, 0x03
RELEASED, PRESSED, REPEATED = 0, 1, 2
KEY_MAX = 0x2FF

_EVENT = struct.Struct("@LLHHi")
EVENT_BYTES: Final = _EVENT.size
KEY_STATE_BYTES: Final = (KEY_MAX + 8) // 8
EVIOCGKEY: Final = 2 << 30 | KEY_STATE_BYTES << 16 | ord("E") << 8 | 0x18
EVIOCSCLOCKID: Final = 1 << 30 | struct.calcsize("@i") << 16 | ord("E") << 8 | 0xA0
CLOCK_MONOTONIC: Final = struct.pack("@i", 1)


class Event(NamedTuple):
    """One event. ``at_s``: on the node's clock, for differences only."""

    at_s: float
    type: int
    code: int
    value: int


def cut(data: bytes) -> tuple[list[Event], bytes]:
    """Whole events of ``data``, and the beginning of one whose rest has not come: put it before the next piece."""
    whole = len(data) - len(data) % EVENT_BYTES
    events = [
        Event(seconds + microseconds / 1_000_000, kind, code, value)
        for seconds, microseconds, kind, code, value in _EVENT.iter_unpack(data[:whole])
    ]
    return events, data[whole:]


def pack(event: Event) -> bytes:
    """The other way, for emulators."""
    seconds = int(event.at_s)
    microseconds = round((event.at_s - seconds) * 1_000_000) % 1_000_000
    return _EVENT.pack(seconds, microseconds, event.type, event.code, event.value)


def held_codes(state: bytes) -> frozenset[int]:
    """Codes whose bit is set in an answer to ``EVIOCGKEY``; a short answer counts as far as it goes."""
    return set_bits(int.from_bytes(state[:KEY_STATE_BYTES], "little"))
