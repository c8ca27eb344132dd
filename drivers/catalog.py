"""What there is: drivers, host sources, emulators. A new one is a new file and one line here."""

from __future__ import annotations

from drivers.contract import Driver, EmulatorEntry
from drivers.host.clock import ClockSource
from drivers.host.cpu import CpuSource
from drivers.host.filesystem import FilesystemSource
from drivers.host.link import LinkSource
from drivers.host.memory import MemorySource
from drivers.host.power import PowerSource
from drivers.host.route import RouteSource
from drivers.host.storage import StorageSource
from drivers.host.thermal import ThermalSource
from drivers.host_contract import HostFactory
from drivers.inputs import sysfs as inputs
from drivers.pos_keyboard.evdev import build_keypad
from drivers.pos_printer.escpos import build_escpos
from drivers.screen import drm
from drivers.touch.evdev import build_touch


def _emulate_printer(argv: list[str]) -> int:
    from drivers.emulators.pos_printer import run_emulator  # noqa: PLC0415  # the daemon never loads an emulator

    return run_emulator(argv)


def _emulate_keypad(argv: list[str]) -> int:
    from drivers.emulators.pos_keyboard import run_emulator  # noqa: PLC0415  # as above

    return run_emulator(argv)


def _emulate_board(argv: list[str]) -> int:
    from drivers.emulators.board import run_emulator  # noqa: PLC0415  # as above

    return run_emulator(argv)


DRIVERS: dict[str, Driver] = {
    "escpos": Driver("pos_printer", build_escpos),
    "evdev_keypad": Driver("pos_keyboard", build_keypad, found_by=inputs.FOUND_BY),
    "evdev_touch": Driver("touch", build_touch, found_by=inputs.FOUND_BY),
    "drm_screen": Driver("screen", drm.build_screen, found_by=drm.FOUND_BY),
}
HOST_SOURCES: dict[str, HostFactory] = {
    "memory": lambda board: MemorySource(board.procfs),
    "cpu": lambda board: CpuSource(board.procfs),
    "filesystem": lambda board: FilesystemSource(board.watched),
    "thermal": lambda board: ThermalSource(board.sysfs),
    "link": lambda board: LinkSource(board.sysfs, board.interfaces),
    "route": lambda board: RouteSource(board.procfs),
    "clock": lambda _board: ClockSource(),
    "power": lambda board: PowerSource(board.sysfs),
    "storage": lambda board: StorageSource(board.sysfs),
}
EMULATORS: dict[str, EmulatorEntry] = {"printer": _emulate_printer, "keypad": _emulate_keypad, "board": _emulate_board}
