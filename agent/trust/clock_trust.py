"""Can the wall clock be believed? By the kernel's own estimate of its greatest error, as systemd judges it.

Source: ``adjtimex(2)``; systemd takes the clock as synchronised while ``maxerror`` is below 16 s, and passes over
STA_UNSYNC, which chrony may leave set. The reading is ``drivers/host/clock.py``'s, handed over by the composition root.
What an untrusted clock forbids is in ``agent/commands/interlocks.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from drivers.host_contract import KernelClock

MAX_ERROR_LIMIT_US: Final = 16_000_000

Source = Literal["kernel", "assume"]


def is_trusted(source: Source, reading: KernelClock | None) -> bool:
    """``assume`` trusts always (demo, tests, development); ``kernel`` by its estimate; no reading, no trust."""
    if source == "assume":
        return True
    return reading is not None and 0 <= reading.max_error_us < MAX_ERROR_LIMIT_US


def clock_trust(source: Source, read: Callable[[], KernelClock | None]) -> Callable[[], bool]:
    """The question that the other rooms ask, for the configured source; ``read`` asks the kernel."""
    if source == "assume":
        return lambda: True
    return lambda: is_trusted(source, read())
