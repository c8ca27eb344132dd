"""The data volume: space, inodes, and whether it can be written. Source: `drivers.host_contract.FilesystemReading`."""

from __future__ import annotations

from agent.contract.health import State, Thresholds
from agent.health.probes.host import LINE_RULES, two_steps
from agent.health.rules import Hold, Rule
from agent.health.sample import Sample
from drivers.host_contract import FilesystemReading, HostReading


def rules(limits: Thresholds) -> tuple[Rule, ...]:
    """How the volume is judged."""
    read_only = Rule(
        "read_only", "read_only", State.FAILED, "the volume is read-only", "HST-STO-005", confirm=Hold(samples=2)
    )
    space = two_steps(
        "storage_used", "HST-STO-001", "{:.1f} % of the space used", limits.storage_used, lower_is_worse=False
    )
    inodes = two_steps(
        "inodes_used", "HST-STO-002", "{:.1f} % of the inodes used", limits.inodes_used, lower_is_worse=False
    )
    return (*LINE_RULES, read_only, *space, *inodes)


def sample_of(reading: HostReading) -> Sample:
    """A reading as a sample. Inodes that are made as needed are no condition."""
    if not isinstance(reading, FilesystemReading):
        raise TypeError(f"not a file system reading: {type(reading).__name__}")
    inodes_pct = reading.used_inodes_pct
    return Sample(
        True,
        {"storage_used": reading.used_pct, "inodes_used": inodes_pct, "read_only": reading.read_only},
        {
            "storage_total_bytes": reading.total_bytes,
            "storage_available_bytes": reading.available_bytes,
            "storage_used_pct": round(reading.used_pct, 1),
            "inodes_used_pct": None if inodes_pct is None else round(inodes_pct, 1),
        },
    )
