"""Printers for tests: the shipped emulator on the test's own loop, and a bare pty on which the test is the printer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from drivers.contract import DeviceSpec, OptionValue, Sensor
from drivers.emulators.pos_printer import PrinterEmulator
from drivers.pos_printer.escpos import EscposPrinter, build_escpos

ALL_SENSORS = frozenset(str(sensor) for sensor in Sensor)
HEALTHY = b"\x12"
QUERY_BYTES = 3


def printer_at(port: Path, **options: OptionValue) -> EscposPrinter:
    """The real driver on the real serial transport."""
    return build_escpos(DeviceSpec("printer-0", "escpos", str(port), sensors=ALL_SENSORS, options=options))


@contextlib.asynccontextmanager
async def emulated_printer(
    folder: Path, **options: OptionValue
) -> AsyncIterator[tuple[PrinterEmulator, EscposPrinter]]:
    """An emulator and a driver that is connected to it; change the emulator with `PrinterEmulator.apply`."""
    emulator = PrinterEmulator(folder / "printer")
    await emulator.start()
    printer = printer_at(emulator.port, **options)
    try:
        yield emulator, printer
    finally:
        await printer.close()
        await emulator.stop()


class BarePort:
    """A pty whose far end is the test: ``answer`` is called with each query of three bytes and gives the reply."""

    def __init__(self, answer: Callable[[bytes], bytes] | None = None) -> None:
        self.master, self._slave = os.openpty()
        os.set_blocking(self.master, False)
        tty.setraw(self._slave)
        self.path = Path(os.ttyname(self._slave))
        self.heard = b""
        self._unanswered = b""
        self._answer = answer
        if answer is not None:
            asyncio.get_running_loop().add_reader(self.master, self._hear)

    def send(self, data: bytes) -> None:
        os.write(self.master, data)

    def hang_up(self) -> None:
        """Pull the cable. May be called twice."""
        if self.master >= 0:
            asyncio.get_running_loop().remove_reader(self.master)
            os.close(self.master)
            os.close(self._slave)
            self.master = self._slave = -1

    def _hear(self) -> None:
        data = os.read(self.master, 4096)
        self.heard += data
        self._unanswered += data
        while self._answer is not None and len(self._unanswered) >= QUERY_BYTES:
            query, self._unanswered = self._unanswered[:QUERY_BYTES], self._unanswered[QUERY_BYTES:]
            self.send(self._answer(query))


@contextlib.asynccontextmanager
async def played_printer(answer: Callable[[bytes], bytes] | None) -> AsyncIterator[tuple[BarePort, EscposPrinter]]:
    """A driver whose printer is the function ``answer``; without one, nobody reads the line."""
    port = BarePort(answer)
    printer = printer_at(port.path)
    try:
        yield port, printer
    finally:
        await printer.close()
        port.hang_up()


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))
