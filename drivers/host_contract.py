"""What the board tells: readings, and the protocol of their sources. Numbers as the kernel gives them, not judged.

A value that this kernel or this board does not have is ``None``, never a number that looks good.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """Main memory and swap, in bytes."""

    total_bytes: int
    available_bytes: int
    swap_total_bytes: int
    swap_free_bytes: int

    @property
    def available_pct(self) -> float:
        """Available memory in percent of all."""
        return 100.0 * self.available_bytes / self.total_bytes


@dataclass(frozen=True, slots=True)
class PressureLine:
    """One line of a pressure file: percent of time stalled over 10, 60 and 300 s, and the sum in µs since boot."""

    avg10_pct: float
    avg60_pct: float
    avg300_pct: float
    total_us: int


@dataclass(frozen=True, slots=True)
class Pressure:
    """Pressure stall information of one resource. ``full`` is ``None`` where the kernel does not give it."""

    some: PressureLine
    full: PressureLine | None


@dataclass(frozen=True, slots=True)
class CpuReading:
    """Processor use since the reading before; ``None`` in the first one, and when the counters went back.

    A pressure is ``None`` where the kernel was built or started without it. Load counts waiting for disks, too.
    """

    busy_pct: float | None
    iowait_pct: float | None
    load_1m: float
    load_5m: float
    load_15m: float
    cpu_pressure: Pressure | None
    memory_pressure: Pressure | None
    io_pressure: Pressure | None


@dataclass(frozen=True, slots=True)
class FilesystemReading:
    """Space and inodes of the file system that holds ``path``. Percentages are those of an unprivileged user."""

    path: str
    total_bytes: int
    available_bytes: int
    used_pct: float
    total_inodes: int
    available_inodes: int
    used_inodes_pct: float | None  # None where inodes are made as needed (btrfs, vfat)
    read_only: bool


HostReading = MemoryReading | CpuReading | FilesystemReading


class HostSource(Protocol):
    """One subject of the board. `read` is synchronous and may block for ever on a broken file: give it a thread."""

    name: str

    def read(self) -> HostReading:
        """Take one reading. Raises `HostSourceError`, which names the file; never makes a value up."""
        ...


class HostFactory(Protocol):
    """Makes a source. ``procfs`` and ``sysfs`` are the roots (``/proc``, ``/sys``), ``watched`` the data folder."""

    def __call__(self, procfs: Path, sysfs: Path, watched: Path = ...) -> HostSource: ...
