"""The clock-trust ladder."""

from __future__ import annotations

import pytest

from agent.trust.clock_trust import clock_trust, is_trusted
from drivers.host.clock import read_kernel_clock
from drivers.host_contract import KernelClock

UNSYNCHRONISED = 0x40


@pytest.mark.parametrize(
    ("reading", "trusted"),
    [
        (KernelClock(0, 0), True),
        (KernelClock(15_999_999, 0), True),
        (KernelClock(15_999_999, UNSYNCHRONISED), True),
        (KernelClock(16_000_000, 0), False),
        (KernelClock(16_000_000, UNSYNCHRONISED), False),
        (KernelClock(-1, 0), False),
        (None, False),
    ],
)
def test_the_kernel_is_believed_below_sixteen_seconds(reading: KernelClock | None, trusted: bool) -> None:
    assert is_trusted("kernel", reading) is trusted
    assert is_trusted("assume", reading)


def test_the_running_kernel_answers() -> None:
    reading = read_kernel_clock()
    assert reading is not None
    assert 0 <= reading.max_error_us < 2**40
    assert clock_trust("kernel", read_kernel_clock)() is is_trusted("kernel", read_kernel_clock())
    assert clock_trust("assume", lambda: None)()
