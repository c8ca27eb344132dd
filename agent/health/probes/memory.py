"""Main memory: how much can still be had. Source: `drivers.host_contract.MemoryReading`. Swap is shown, not judged."""

from __future__ import annotations

from agent.contract.health import Thresholds
from agent.health.probes.host import LINE_RULES, two_steps
from agent.health.rules import Rule
from agent.health.sample import Sample
from drivers.host_contract import HostReading, MemoryReading


def rules(limits: Thresholds) -> tuple[Rule, ...]:
    """How memory is judged."""
    text = "{:.1f} % of memory available"
    return LINE_RULES + two_steps("memory_available", "HST-MEM-001", text, limits.memory_available, lower_is_worse=True)


def sample_of(reading: HostReading) -> Sample:
    """A reading as a sample."""
    if not isinstance(reading, MemoryReading):
        raise TypeError(f"not a memory reading: {type(reading).__name__}")
    available_pct = reading.available_pct
    return Sample(
        True,
        {"memory_available": available_pct},
        {
            "memory_total_bytes": reading.total_bytes,
            "memory_available_bytes": reading.available_bytes,
            "memory_available_pct": round(available_pct, 1),
            "swap_free_bytes": reading.swap_free_bytes,
        },
    )
