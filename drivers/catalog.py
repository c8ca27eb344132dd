"""What there is: drivers, host sources, emulators. A new one is a new file and one line here."""

from __future__ import annotations

from pathlib import Path

from drivers.contract import DriverFactory, EmulatorEntry
from drivers.host.cpu import CpuSource
from drivers.host.filesystem import FilesystemSource
from drivers.host.memory import MemorySource
from drivers.host_contract import HostFactory, HostSource
from drivers.pos_printer.escpos import build_escpos


def _memory(procfs: Path, sysfs: Path, watched: Path = Path("/")) -> HostSource:
    return MemorySource(procfs)


def _cpu(procfs: Path, sysfs: Path, watched: Path = Path("/")) -> HostSource:
    return CpuSource(procfs)


def _filesystem(procfs: Path, sysfs: Path, watched: Path = Path("/")) -> HostSource:
    return FilesystemSource(watched)


def _emulate_printer(argv: list[str]) -> int:
    from drivers.emulators.pos_printer import run_emulator  # noqa: PLC0415  # the daemon never loads an emulator

    return run_emulator(argv)


DRIVERS: dict[str, DriverFactory] = {"escpos": build_escpos}
HOST_SOURCES: dict[str, HostFactory] = {"memory": _memory, "cpu": _cpu, "filesystem": _filesystem}
EMULATORS: dict[str, EmulatorEntry] = {"printer": _emulate_printer}
