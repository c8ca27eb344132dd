"""Processor: do programs wait for processor, memory or disk? Source: `drivers.host_contract.CpuReading`.

Pressure is judged, averaged by the kernel over 60 s; how busy the processor is only where the kernel gives no pressure.
Load is shown, not judged: it counts waiting for disks, too.
"""

from __future__ import annotations

from agent.contract.health import Thresholds
from agent.health.probes.host import LINE_RULES, two_steps
from agent.health.rules import Rule
from agent.health.sample import Sample
from drivers.host_contract import CpuReading, HostReading, Pressure

_CODE = "HST-CPU-001"


def rules(limits: Thresholds) -> tuple[Rule, ...]:
    """How pressure and use are judged."""
    found = LINE_RULES
    for condition, threshold, text in (
        ("cpu_pressure", limits.cpu_pressure, "programs wait for the processor {:.0f} % of the time"),
        ("memory_pressure", limits.memory_pressure, "programs wait for memory {:.0f} % of the time"),
        ("io_pressure", limits.io_pressure, "programs wait for disks {:.0f} % of the time"),
        ("cpu_busy", limits.cpu_busy, "processor busy {:.0f} % of the time"),
    ):
        found += two_steps(condition, _CODE, text, threshold, lower_is_worse=False)
    return found


def sample_of(reading: HostReading) -> Sample:
    """A reading as a sample."""
    if not isinstance(reading, CpuReading):
        raise TypeError(f"not a processor reading: {type(reading).__name__}")
    busy_pct, iowait_pct = reading.busy_pct, reading.iowait_pct
    cpu, memory, io = (_some(one) for one in (reading.cpu_pressure, reading.memory_pressure, reading.io_pressure))
    return Sample(
        True,
        {
            "cpu_pressure": cpu,
            "memory_pressure": memory,
            "io_pressure": io,
            "cpu_busy": busy_pct if cpu is None else None,
        },
        {
            "cpu_busy_pct": None if busy_pct is None else round(busy_pct, 1),
            "cpu_iowait_pct": None if iowait_pct is None else round(iowait_pct, 1),
            "cpu_pressure_pct": cpu,
            "memory_pressure_pct": memory,
            "io_pressure_pct": io,
            "load_1m": reading.load_1m,
            "load_5m": reading.load_5m,
            "load_15m": reading.load_15m,
        },
    )


def _some(pressure: Pressure | None) -> float | None:
    return None if pressure is None else pressure.some.avg60_pct
