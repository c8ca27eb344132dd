"""Processor use, load and pressure. Left out: single cores.

Source: ``stat``, ``loadavg`` and ``pressure/`` of procfs. One regular expression a file checks and cuts it: what the
kernel does not print (``nan``, a sign, half a line) is no reading, and it is twice as fast as splitting.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import NamedTuple

from drivers.errors import HostSourceError
from drivers.host.source_file import SourceFile
from drivers.host_contract import CpuReading, Pressure, PressureLine

_NO_PRESSURE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EOPNOTSUPP})  # kernel built or started without it

_STAT = re.compile(rb"cpu +(\d+) (\d+) (\d+) (\d+) (\d+)(?: (\d+))?(?: (\d+))?(?: (\d+))?[ \d]*\n")
_LOADAVG = re.compile(rb"(\d+\.\d+) (\d+\.\d+) (\d+\.\d+) ")
_AVERAGES = rb" avg10=(\d+\.\d+) avg60=(\d+\.\d+) avg300=(\d+\.\d+) total=(\d+)\n"
_PRESSURE = re.compile(rb"some" + _AVERAGES + rb"(?:full" + _AVERAGES + rb")?\Z")


class CpuTimes(NamedTuple):
    """Jiffies since boot over all processors. ``busy`` holds guests already, as the kernel counts them in user time."""

    busy: int
    idle: int
    iowait: int


class CpuSource:
    """Keeps the counters of the reading before: percentages are over the time between two readings."""

    name = "cpu"

    def __init__(self, procfs: Path) -> None:
        self._stat, self._loadavg, self._cpu, self._memory, self._io = (
            SourceFile(str(procfs / name), self.name)
            for name in ("stat", "loadavg", "pressure/cpu", "pressure/memory", "pressure/io")
        )
        self._before: CpuTimes | None = None
        self._pressures: dict[str, tuple[bytes, Pressure]] = {}

    def read(self) -> CpuReading:
        before, self._before = self._before, None  # a failed reading must not stretch the interval of the next
        times = parse_stat(self._stat.read(), self._stat.path)
        busy_pct, iowait_pct = _shares(before, times)
        load_1m, load_5m, load_15m = parse_loadavg(self._loadavg.read(), self._loadavg.path)
        reading = CpuReading(
            busy_pct,
            iowait_pct,
            load_1m,
            load_5m,
            load_15m,
            self._pressure(self._cpu),
            self._pressure(self._memory),
            self._pressure(self._io),
        )
        self._before = times
        return reading

    def _pressure(self, file: SourceFile) -> Pressure | None:
        try:
            content = file.read()
        except HostSourceError as err:
            if isinstance(err.__cause__, OSError) and err.__cause__.errno in _NO_PRESSURE:
                return None
            raise
        before = self._pressures.get(file.path)
        if before is not None and before[0] == content:  # most often nothing has waited since
            return before[1]
        pressure = parse_pressure(content, file.path)
        self._pressures[file.path] = content, pressure
        return pressure


def parse_stat(content: bytes, path: str) -> CpuTimes:
    """Read the first line: ``cpu user nice system idle iowait irq softirq steal …``; later numbers are in user.

    Raises:
        HostSourceError: Not that line.
    """
    found = _STAT.match(content)
    if found is None:
        raise HostSourceError("cpu", path, "does not begin with a whole line of processor times")
    user, nice, system, idle, iowait, irq, softirq, steal = (int(jiffies or 0) for jiffies in found.groups())
    return CpuTimes(user + nice + system + irq + softirq + steal, idle, iowait)


def parse_loadavg(content: bytes, path: str) -> tuple[float, float, float]:
    """Read the averages over 1, 5 and 15 minutes.

    Raises:
        HostSourceError: Not three numbers.
    """
    found = _LOADAVG.match(content)
    if found is None:
        raise HostSourceError("cpu", path, "does not begin with three averages")
    return float(found[1]), float(found[2]), float(found[3])


def parse_pressure(content: bytes, path: str) -> Pressure:
    """Read ``some`` and, where the kernel has it, ``full``.

    Raises:
        HostSourceError: Another form.
    """
    found = _PRESSURE.match(content)
    if found is None:
        raise HostSourceError("cpu", path, "is not pressure stall information")
    some10, some60, some300, some_us, full10, full60, full300, full_us = found.groups()
    some = PressureLine(float(some10), float(some60), float(some300), int(some_us))
    if full_us is None:
        return Pressure(some, None)
    return Pressure(some, PressureLine(float(full10), float(full60), float(full300), int(full_us)))


def _shares(before: CpuTimes | None, now: CpuTimes) -> tuple[float | None, float | None]:
    """Busy and I/O-waiting percent between two readings; nothing when it cannot be told."""
    if before is None:
        return None, None
    busy, idle, iowait = (after - earlier for after, earlier in zip(now, before, strict=True))
    total = busy + idle + iowait
    if total <= 0 or busy < 0 or idle < 0 or iowait < 0:  # iowait may run backwards on a multi-core machine
        return None, None
    return 100.0 * busy / total, 100.0 * iowait / total
