"""The idle agent: memory, CPU and wake-ups, beside a bare interpreter with asyncio, ssl and sqlite3 imported."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SETTLE_S = 20.0
MEASURE_S = 60.0
_BARE = (
    "import asyncio, ssl, sqlite3, json, logging; ssl.create_default_context;"
    "print('ready', flush=True); asyncio.run(asyncio.sleep(600))"
)


@dataclass(frozen=True)
class Idle:
    """RSS and PSS in MiB, CPU in ms a second, voluntary context switches of all threads a second."""

    rss_mib: float
    pss_mib: float
    cpu_ms_per_s: float
    wakeups_per_s: float


def _switches(pid: int) -> int:
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = status.read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    return total


def _cpu_ms(pid: int) -> float:
    """Time on a processor, of all threads, in ms. Source: ``/proc/PID/task/*/schedstat``, first number in ns."""
    return sum(int(p.read_text().split()[0]) for p in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e6


def _memory_mib(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def measure(pid: int, settle_s: float = SETTLE_S, measure_s: float = MEASURE_S) -> Idle:
    """Let the process come to rest, then watch it."""
    time.sleep(settle_s)
    switches, cpu, started = _switches(pid), _cpu_ms(pid), time.monotonic()
    time.sleep(measure_s)
    took = time.monotonic() - started
    return Idle(
        _memory_mib(pid, "Rss"),
        _memory_mib(pid, "Pss"),
        (_cpu_ms(pid) - cpu) / took,
        (_switches(pid) - switches) / took,
    )


def bare_interpreter() -> Idle:
    """The floor in the same run."""
    process = subprocess.Popen([sys.executable, "-OO", "-c", _BARE], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            return measure(process.pid, settle_s=2.0, measure_s=10.0)
        finally:
            process.kill()
