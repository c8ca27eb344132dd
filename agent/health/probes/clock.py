"""The wall clock: synchronised, and without jumps? Source: `drivers.host_contract.ClockReading`.

The kernel's own estimate of its greatest error decides, as for orders (``agent/trust/clock_trust.py``): below 16 s it
is synchronised, whatever its status says. Where the configuration assumes the clock, that is shown, not judged.
"""

from __future__ import annotations

from agent.contract.health import State
from agent.health.probes.host import LINE_RULES
from agent.health.rules import Hold, Limit, Rule
from agent.health.sample import Sample
from drivers.host_contract import ClockReading, HostReading

CODE = "HST-CLK-001"
EARLIEST_S = 1_767_225_600.0  # 2026-01-01 UTC: before this program was made
UNSYNCHRONISED_US = 16_000_000.0

_AFTER_START = Hold(samples=2, seconds=300.0)  # a time server is not reached in the first moment of a boot


def rules(*, assumed: bool) -> tuple[Rule, ...]:
    """How the clock is judged.

    Args:
        assumed: ``clock.trust`` is "assume": nobody claims that it is synchronised.
    """
    jumped = Rule(
        "jumped", "jumped", State.DEGRADED, "the clock jumped by {:.0f} s", "HST-CLK-002", limit=Limit(2.0, 1.9)
    )
    past = Rule("past", "past", State.FAILED, "the clock says a time before this program was made", CODE)
    unsynchronised = Rule(
        "unsynchronised",
        "error_us",
        State.DEGRADED,
        "the clock is not synchronised",
        CODE,
        limit=Limit(UNSYNCHRONISED_US, UNSYNCHRONISED_US - 1),
        confirm=_AFTER_START,
    )
    return (*LINE_RULES, past, *(() if assumed else (unsynchronised,)), jumped)


def sample_of(reading: HostReading) -> Sample:
    """A reading as a sample."""
    if not isinstance(reading, ClockReading):
        raise TypeError(f"not a reading of the clock: {type(reading).__name__}")
    kernel = reading.kernel
    details = {}
    if reading.jump_s:
        side = "ahead" if reading.jump_s > 0 else "back"
        details["jumped"] = f"the clock jumped {side} by {abs(reading.jump_s):.0f} s within the last hour"
    return Sample(
        True,
        {
            "past": reading.wall_s < EARLIEST_S,
            "error_us": None if kernel is None else float(kernel.max_error_us),
            "jumped": abs(reading.jump_s),
        },
        {
            "clock_max_error_s": None if kernel is None else round(kernel.max_error_us / 1_000_000, 3),
            "clock_jump_s": round(reading.jump_s, 1),
        },
        details,
    )
