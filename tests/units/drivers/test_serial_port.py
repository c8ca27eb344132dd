"""The serial transport by itself: what opening can meet, and what it must never leave behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drivers.errors import DeviceGone, DeviceOffline, PortUnusable
from drivers.transports.serial_port import SerialPort
from tests.kit.printer_port import BarePort, open_descriptors, printer_at

SHORT_S = 0.2
LONG_S = 20.0


@pytest.fixture
async def bare_port() -> AsyncIterator[BarePort]:
    port = BarePort()
    yield port
    port.hang_up()


def serial_port(path: Path) -> SerialPort:
    return SerialPort("printer-0", str(path), 9600)


async def test_all_eight_bits_pass_unchanged_both_ways(bare_port: BarePort) -> None:
    every_byte = bytes(range(256))
    port = serial_port(bare_port.path)
    stream = await port.open()
    bare_port.send(every_byte)
    assert await stream.read_exactly(256) == every_byte
    await stream.write(every_byte)
    assert os.read(bare_port.master, 4096) == every_byte
    stream.close()
    await port.closed()


async def test_nothing_to_read_is_waiting_and_not_the_end_of_the_line(bare_port: BarePort) -> None:
    port = serial_port(bare_port.path)
    stream = await port.open()
    assert stream.drain_input() == b""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SHORT_S):
            await stream.read_some()
    bare_port.send(b"\x12\x16")
    assert await stream.read_some() == b"\x12\x16"
    stream.close()
    await port.closed()


async def test_a_closed_stream_is_gone_and_may_be_closed_again(bare_port: BarePort) -> None:
    port = serial_port(bare_port.path)
    stream = await port.open()
    stream.close()
    stream.close()
    with pytest.raises(DeviceGone):
        await stream.read_some()
    with pytest.raises(DeviceGone):
        await stream.write(b"x")
    with pytest.raises(DeviceGone):
        stream.drain_input()
    await port.closed()


async def test_a_port_that_is_not_there_is_gone(tmp_path: Path) -> None:
    with pytest.raises(DeviceGone, match="not there"):
        await serial_port(tmp_path / "ttyUSB0").open()
    (tmp_path / "by-id").symlink_to(tmp_path / "ttyUSB0")
    with pytest.raises(DeviceGone, match="not there"):
        await serial_port(tmp_path / "by-id").open()


async def test_a_file_that_is_no_serial_port_is_unusable_and_leaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no port")
    os.mkfifo(tmp_path / "fifo")
    await _try_to_open(tmp_path / "file")  # the first time loads modules
    before = open_descriptors()
    for name in ("file", "fifo", "."):
        await _try_to_open(tmp_path / name)
    assert open_descriptors() == before


async def _try_to_open(path: Path) -> None:
    with pytest.raises(PortUnusable):
        await serial_port(path).open()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything; the next test covers root")
async def test_a_port_without_permission_is_unusable(bare_port: BarePort) -> None:
    bare_port.path.chmod(0)
    with pytest.raises(PortUnusable, match="permission"):
        await serial_port(bare_port.path).open()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_port_of_another_user_is_unusable(tmp_path: Path) -> None:
    program = (
        "import asyncio, os, sys\n"
        "from drivers.errors import PortUnusable\n"
        "from drivers.transports.serial_port import SerialPort\n"
        "import serial\n"
        "master, slave = os.openpty()\n"
        "path = os.ttyname(slave)\n"
        "os.chmod(path, 0o600)\n"
        "os.setuid(65534)\n"
        "try:\n"
        "    asyncio.run(SerialPort('printer-0', path, 9600).open())\n"
        "except PortUnusable as err:\n"
        "    sys.exit(0 if 'permission' in str(err) else 3)\n"
        "sys.exit(4)\n"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


async def test_a_port_that_another_program_holds_is_unusable_until_it_lets_go(bare_port: BarePort) -> None:
    other, mine = serial_port(bare_port.path), serial_port(bare_port.path)
    held = await other.open()
    with pytest.raises(PortUnusable, match="another program"):
        await mine.open()
    held.close()
    await other.closed()
    (await mine.open()).close()
    await mine.closed()


async def test_opening_again_at_once_waits_for_the_lock_of_the_stream_before(bare_port: BarePort) -> None:
    port = serial_port(bare_port.path)
    for _round in range(50):
        (await port.open()).close()
    await port.closed()


async def test_two_hundred_streams_leave_no_descriptor_and_no_thread(bare_port: BarePort) -> None:
    port = serial_port(bare_port.path)
    (await port.open()).close()
    await port.closed()
    descriptors = open_descriptors()
    for _cycle in range(200):
        stream = await port.open()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await stream.read_some()
        stream.close()
    await port.closed()
    assert open_descriptors() == descriptors
    for thread in threading.enumerate():
        if str(bare_port.path) in thread.name:  # it may still be on its last step
            thread.join(LONG_S)
            assert not thread.is_alive()


class HangingPort(SerialPort):
    """A port whose driver hangs in open(2) until it is let go; then it opens as usual."""

    def __init__(self, path: Path) -> None:
        super().__init__("printer-0", str(path), 9600)
        self.let_go = threading.Event()
        self.attempts = 0

    def _open_blocking(self) -> int:
        self.attempts += 1
        self.let_go.wait()
        return super()._open_blocking()


async def test_an_open_that_hangs_costs_one_thread_and_no_deadline(bare_port: BarePort) -> None:
    printer = printer_at(bare_port.path)
    hanging = HangingPort(bare_port.path)
    printer._port = hanging
    for _round in range(3):
        with pytest.raises(DeviceOffline, match="opening of the port"):
            await printer.read_status(SHORT_S)
    assert hanging.attempts == 1
    hanging.let_go.set()
    with pytest.raises(DeviceOffline, match="DLE EOT 1"):  # the attempt that hung is taken over by the next call
        await printer.read_status(SHORT_S)
    assert hanging.attempts == 1
    await printer.close()


async def test_closing_while_an_open_hangs_leaves_nothing_once_it_ends(bare_port: BarePort) -> None:
    before = open_descriptors()
    hanging = HangingPort(bare_port.path)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SHORT_S):
            await hanging.open()
    closing = asyncio.ensure_future(hanging.closed())
    await asyncio.sleep(0)
    hanging.let_go.set()
    await closing
    assert open_descriptors() == before


async def test_closing_does_not_wait_for_ever_for_an_open_that_hangs_and_the_late_port_is_given_back(
    bare_port: BarePort,
) -> None:
    before = open_descriptors()
    printer = printer_at(bare_port.path)
    hanging = HangingPort(bare_port.path)
    printer._port = hanging
    with pytest.raises(DeviceOffline):
        await printer.read_status(SHORT_S)
    async with asyncio.timeout(LONG_S):
        await printer.close()
    hanging.let_go.set()
    async with asyncio.timeout(LONG_S):
        while hanging._opening is not None:
            await asyncio.sleep(0.001)
    await hanging.closed()
    assert open_descriptors() == before
    other = serial_port(bare_port.path)
    (await other.open()).close()  # nobody holds its lock
    await other.closed()


def test_an_open_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    program = (
        "import asyncio, threading\n"
        "from drivers.transports.background import in_daemon_thread\n"
        "async def main():\n"
        "    try:\n"
        "        async with asyncio.timeout(0.05):\n"
        "            await in_daemon_thread(threading.Event().wait, 'hangs')\n"
        "    except TimeoutError:\n"
        "        print('timed out')\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LONG_S)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, "timed out", "")
