"""What the board tells: readings, and the protocol of their sources. Numbers as the kernel gives them, not judged.

A value that this kernel or this board does not have is ``None``, never a number that looks good.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from msgspec import Struct


class MemoryReading(Struct, frozen=True):
    """Main memory and swap, in bytes."""

    total_bytes: int
    available_bytes: int
    swap_total_bytes: int
    swap_free_bytes: int

    @property
    def available_pct(self) -> float:
        """Available memory in percent of all."""
        return 100.0 * self.available_bytes / self.total_bytes


class PressureLine(NamedTuple):
    """One line of a pressure file: percent of time stalled over 10, 60 and 300 s, and the sum in µs since boot."""

    avg10_pct: float
    avg60_pct: float
    avg300_pct: float
    total_us: int


class Pressure(NamedTuple):
    """Pressure stall information of one resource. ``full`` is ``None`` where the kernel does not give it."""

    some: PressureLine
    full: PressureLine | None


class CpuReading(Struct, frozen=True):
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


class FilesystemReading(Struct, frozen=True):
    """Space and inodes of the file system that holds ``path``. Percentages are those of an unprivileged user."""

    path: str
    total_bytes: int
    available_bytes: int
    used_pct: float
    total_inodes: int
    available_inodes: int
    used_inodes_pct: float | None  # None where inodes are made as needed (btrfs, vfat)
    read_only: bool


class ThermalZone(Struct, frozen=True):
    """One sensor. ``None``: a temperature that it does not give now or that cannot be, a trip that it does not have."""

    name: str
    kind: str  # as the board calls it, such as ``cpu-thermal``
    temp_c: float | None
    passive_c: float | None  # from here on the kernel slows the board down
    hot_c: float | None
    critical_c: float | None  # here the kernel switches it off


class ThermalReading(Struct, frozen=True):
    """All sensors, and how many means of slowing the board down are in use now. No zone: this board has no sensor."""

    zones: tuple[ThermalZone, ...]
    throttling: int


class Link(NamedTuple):
    """One network interface. ``carrier`` is ``None`` while it is switched off: then nobody knows."""

    name: str
    present: bool  # False: there is no such interface now
    carrier: bool | None
    operstate: str
    recent_changes: int | None  # of the carrier in the last five minutes, as far as this process saw


class LinkReading(Struct, frozen=True):
    """``named``: the configuration names these interfaces, so each is wanted; else they are all physical ones."""

    links: tuple[Link, ...]
    named: bool


class DefaultRoute(Struct, frozen=True):
    """The way to other networks. ``gateway`` is ``None`` on a point-to-point link."""

    interface: str
    gateway: str | None


class RouteReading(Struct, frozen=True):
    """Default routes; ``ipv6`` is looked for only where there is no ``ipv4`` one.

    ``gateway_answers``: the IPv4 gateway is known by its hardware address; ``None`` while nobody has asked it lately.
    """

    ipv4: DefaultRoute | None
    ipv6: DefaultRoute | None
    gateway_answers: bool | None


class KernelClock(Struct, frozen=True):
    """What ``adjtimex`` says. ``max_error_us``: how wrong the clock may be, in µs; it grows without synchronisation."""

    max_error_us: int
    status: int


class ClockReading(Struct, frozen=True):
    """The wall clock. ``kernel`` is ``None`` where the kernel cannot be asked.

    ``jump_s``: the greatest sudden step of the last hour against the time since boot, positive when it went forward.
    """

    kernel: KernelClock | None
    wall_s: float  # since 1970 UTC
    jump_s: float


class Battery(Struct, frozen=True):
    """One main battery. ``None`` is what its driver does not tell."""

    name: str
    status: str | None  # Charging, Discharging, Not charging, Full, Unknown
    capacity_pct: int | None
    health: str | None  # Good, Overheat, Dead, …
    temp_c: float | None
    voltage_v: float | None


class PowerReading(Struct, frozen=True):
    """Batteries (none: none built in), and whether a charger gives power: ``None`` where this board cannot tell."""

    batteries: tuple[Battery, ...]
    mains_online: bool | None


class FlashWear(Struct, frozen=True):
    """One eMMC. ``life_used_pct``: at least this much, in steps of ten; 100 is beyond its life."""

    name: str
    life_used_pct: int | None
    reserve: int | None  # pre_eol_info: 1 normal, 2 80 % of the reserve blocks used, 3 90 %


class Ext4Errors(Struct, frozen=True):
    """What one ext4 file system has counted; it keeps the counts until it is checked (fsck)."""

    name: str
    errors: int
    warnings: int
    new_errors: int  # since the first reading of this process


class StorageReading(Struct, frozen=True):
    """Wear and errors. Both empty: this board has neither an eMMC that tells nor an ext4 file system."""

    flash: tuple[FlashWear, ...]
    ext4: tuple[Ext4Errors, ...]


HostReading = (
    MemoryReading
    | CpuReading
    | FilesystemReading
    | ThermalReading
    | LinkReading
    | RouteReading
    | ClockReading
    | PowerReading
    | StorageReading
)


class Board(Struct, frozen=True):
    """Where a board is looked at.

    Attributes:
        procfs: Root of procfs (``/proc``); ``sysfs``: of sysfs (``/sys``).
        watched: The data folder, whose file system is watched.
        interfaces: Network interfaces that must have a link; empty: all physical ones, of which one must.
    """

    procfs: Path
    sysfs: Path
    watched: Path = Path("/")
    interfaces: tuple[str, ...] = ()


class HostSource(Protocol):
    """One subject of the board. `read` is synchronous and may block for ever on a broken file: give it a thread."""

    name: str

    def read(self) -> HostReading:
        """Take one reading. Raises `HostSourceError`, which names the file; never makes a value up."""
        ...


HostFactory = Callable[[Board], HostSource]
