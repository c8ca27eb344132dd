"""Can the wall clock be believed? By the kernel's own estimate of its greatest error, as systemd judges it.

Source: ``adjtimex(2)``; systemd takes the clock as synchronised while ``maxerror`` is below 16 s, and passes over
STA_UNSYNC, which chrony may leave set. Python has no call for it, so ``ctypes`` is loaded when the first order asks
(0.35 MB; an idle terminal never pays them). What an untrusted clock forbids is in ``agent/commands/interlocks.py``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

MAX_ERROR_LIMIT_US: Final = 16_000_000
_TIMEX: Final = struct.Struct("@Illlli")  # modes, offset, freq, maxerror, esterror, status
_TIMEX_BYTES: Final = 512  # more than any struct timex: the kernel writes all of its own

Source = Literal["kernel", "assume"]


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What the kernel says. ``max_error_us``: how wrong the clock may be, in µs; it grows without synchronisation."""

    max_error_us: int
    status: int


def is_trusted(source: Source, reading: ClockReading | None) -> bool:
    """``assume`` trusts always (demo, tests, development); ``kernel`` by its estimate; no reading, no trust."""
    if source == "assume":
        return True
    return reading is not None and 0 <= reading.max_error_us < MAX_ERROR_LIMIT_US


def read_kernel_clock() -> ClockReading | None:
    """Ask ``adjtimex`` without changing anything; None where it cannot be asked."""
    import ctypes  # noqa: PLC0415  # only when an order arrives: see above

    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # all zero: modes = 0 only reads
    try:
        answer = ctypes.CDLL(None).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    if answer < 0:
        return None
    _modes, _offset, _freq, max_error_us, _estimate, status = _TIMEX.unpack_from(buffer.raw)
    return ClockReading(max_error_us, status)


def clock_trust(source: Source) -> Callable[[], bool]:
    """The question that the other rooms ask, for the configured source."""
    if source == "assume":
        return lambda: True
    return lambda: is_trusted(source, read_kernel_clock())
