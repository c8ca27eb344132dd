"""Processes that do nothing much, watched side by side: memory, CPU, wake-ups, and bytes written to storage."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DAY_S = 86_400.0


@dataclass(frozen=True)
class Idle:
    """RSS and PSS in MiB, CPU in ms a second, voluntary context switches of all threads a second, MB written a day.

    What is written less often than the watch lasts is not in ``written_mb_per_day``.
    """

    rss_mib: float
    pss_mib: float
    cpu_ms_per_s: float
    wakeups_per_s: float
    written_mb_per_day: float


@dataclass(frozen=True)
class _Counters:
    at_s: float
    switches: int
    cpu_ms: float
    written_bytes: int

    @classmethod
    def of(cls, pid: int) -> _Counters:
        return cls(time.monotonic(), _switches(pid), _cpu_ms(pid), written_bytes(pid))


def _switches(pid: int) -> int:
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = status.read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return total


def _cpu_ms(pid: int) -> float:
    """Time on a processor, of all threads, in ms. Source: ``/proc/PID/task/*/schedstat``, first number in ns."""
    return sum(int(p.read_text().split()[0]) for p in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e6


def written_bytes(pid: int) -> int:
    """What the process made the kernel write to storage, in pages of 4 KiB. Source: ``/proc/PID/io``."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def _memory_mib(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def watch(pids: Mapping[str, int], settle_s: float, measure_s: float) -> dict[str, Idle]:
    """Let the processes come to rest, then watch all of them over the same time."""
    time.sleep(settle_s)
    before = {name: _Counters.of(pid) for name, pid in pids.items()}
    time.sleep(measure_s)
    after = {name: _Counters.of(pid) for name, pid in pids.items()}
    return {name: _between(pids[name], before[name], after[name]) for name in pids}


def _between(pid: int, before: _Counters, after: _Counters) -> Idle:
    took_s = after.at_s - before.at_s
    return Idle(
        _memory_mib(pid, "Rss"),
        _memory_mib(pid, "Pss"),
        (after.cpu_ms - before.cpu_ms) / took_s,
        (after.switches - before.switches) / took_s,
        (after.written_bytes - before.written_bytes) / took_s * DAY_S / 1e6,
    )
