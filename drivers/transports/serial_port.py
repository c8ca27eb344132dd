"""A serial port: opened with pyserial in a thread, read and written on its non-blocking descriptor by the event loop.

pyserial knows termios and odd baud rates; its ``read`` and ``write`` are not used, because ``write`` to a port that has
stopped draining blocks the loop for ever. Opening may block (a driver in trouble), and so may closing (the kernel waits
up to 30 s for output to drain), so both happen in daemon threads. Works on a pty, which has no modem lines, as well.
Left out: parity and other frames than 8N1; no printer in use needs them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import termios
from collections.abc import Callable

from drivers.errors import DeviceGone, DriverError, PortUnusable
from drivers.transports.background import in_daemon_thread
from drivers.transports.stream import Stream

FLOW_CONTROLS = frozenset({"none", "xonxoff", "rtscts"})
_READ_BYTES = 4096
_CLOSING_GRACE_S = 1.0
_DRAIN_LIMIT_BYTES = 65_536
_GONE = frozenset({errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOENT, errno.EBADF, errno.EPIPE, errno.ECONNRESET})
_CC = 6  # index of the control characters in what tcgetattr gives


class SerialStream:
    """An open serial port. See `drivers.transports.stream.Stream`."""

    def __init__(self, device: str, path: str, descriptor: int, release: Callable[[int], None]) -> None:
        """``release`` is given the descriptor once, by `close`; it must not block."""
        self._device = device
        self._path = path
        self._descriptor = descriptor
        self._release = release

    async def read_some(self) -> bytes:
        while True:
            try:
                data = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                await self._ready(_add_reader, _remove_reader)
            except OSError as err:
                raise self._gone("read", err) from err
            else:
                if not data:  # VMIN is 1, so nothing to read is EAGAIN, and an empty read is a hang-up
                    raise self._gone("read", None)
                return data

    async def read_exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                part = os.read(self._descriptor, count - len(data))
            except BlockingIOError:
                await self._ready(_add_reader, _remove_reader)
            except OSError as err:
                raise self._gone("read", err) from err
            else:
                if not part:
                    raise self._gone("read", None)
                data += part
        return data

    async def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                await self._ready(_add_writer, _remove_writer)
            except OSError as err:
                raise self._gone("written", err) from err

    def drain_input(self) -> bytes:
        taken = b""
        while len(taken) < _DRAIN_LIMIT_BYTES:
            try:
                data = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                break
            except OSError as err:
                raise self._gone("read", err) from err
            if not data:
                raise self._gone("read", None)
            taken += data
        return taken

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._release(descriptor)

    async def _ready(self, add: _Watch, remove: _Unwatch) -> None:
        """Wait until the descriptor can go on; the watch never outlives the wait."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        descriptor = self._descriptor

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        try:
            add(loop, descriptor, wake)
        except OSError as err:  # epoll refuses a descriptor that is gone
            raise self._gone("watched", err) from err
        try:
            await ready
        finally:
            remove(loop, descriptor)

    def _gone(self, what: str, err: OSError | None) -> DeviceGone:
        cause = "hung up" if err is None else str(err.strerror)
        return DeviceGone(self._device, f"port {self._path} cannot be {what}: {cause}; check cable and power")


_Watch = Callable[[asyncio.AbstractEventLoop, int, Callable[[], None]], None]
_Unwatch = Callable[[asyncio.AbstractEventLoop, int], None]


def _add_reader(loop: asyncio.AbstractEventLoop, descriptor: int, wake: Callable[[], None]) -> None:
    loop.add_reader(descriptor, wake)


def _remove_reader(loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
    loop.remove_reader(descriptor)


def _add_writer(loop: asyncio.AbstractEventLoop, descriptor: int, wake: Callable[[], None]) -> None:
    loop.add_writer(descriptor, wake)


def _remove_writer(loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
    loop.remove_writer(descriptor)


class SerialPort:
    """Opens one port, exclusively. At most one thread opens and one closes: a port that hangs cannot pile them up."""

    def __init__(self, device: str, path: str, baud_rate: int, flow_control: str = "none") -> None:
        """``flow_control`` is one of `FLOW_CONTROLS`; a printer's DTR/DSR is brought to RTS/CTS by its cable."""
        self._device = device
        self._path = path
        self._baud_rate = baud_rate
        self._flow_control = flow_control
        self._opening: asyncio.Future[int] | None = None
        self._opening_unwanted = False
        self._closing: asyncio.Future[None] | None = None

    async def open(self) -> Stream:
        """Open and configure. A call that is cancelled leaves the attempt to the next call, which takes it over."""
        self._opening_unwanted = False
        await self._descriptor_closed()
        if self._opening is None:
            self._opening = in_daemon_thread(self._open_blocking, f"open {self._path}")
        opening = self._opening
        try:
            descriptor = await asyncio.shield(opening)
        except (OSError, termios.error, ValueError, ImportError) as err:
            self._opening = None
            raise self._open_error(err) from err
        self._opening = None
        return SerialStream(self._device, self._path, descriptor, self._release)

    async def closed(self) -> None:
        """Wait a little for what still happens in threads. An open that hangs is closed when it ends, if ever."""
        if self._opening is not None:
            self._opening_unwanted = True
            self._opening.add_done_callback(self._release_unwanted)
            await asyncio.wait([self._opening], timeout=_CLOSING_GRACE_S)
            await asyncio.sleep(0)  # let the callback run
        if self._closing is not None:
            await asyncio.wait([self._closing], timeout=_CLOSING_GRACE_S)

    async def _descriptor_closed(self) -> None:
        """Wait until the descriptor of the stream before is closed: till then its lock on the port is ours."""
        if self._closing is not None:
            await asyncio.shield(self._closing)
            self._closing = None

    def _open_blocking(self) -> int:
        """Runs in a thread. A descriptor of our own, so that pyserial's object with its four pipe ends can go."""
        import serial  # noqa: PLC0415  # only a terminal with a serial device pays for it

        port = serial.Serial(
            self._path,
            self._baud_rate,
            timeout=0,
            exclusive=True,
            xonxoff=self._flow_control == "xonxoff",
            rtscts=self._flow_control == "rtscts",
        )
        try:
            descriptor = os.dup(port.fileno())
        finally:
            port.close()
        try:
            os.set_blocking(descriptor, False)
            attributes = termios.tcgetattr(descriptor)
            attributes[_CC][termios.VMIN] = 1  # pyserial sets 0: then "nothing yet" and "hung up" would look the same
            termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _release(self, descriptor: int) -> None:
        self._closing = in_daemon_thread(lambda: _close_blocking(descriptor), f"close {self._path}")

    def _release_unwanted(self, opening: asyncio.Future[int]) -> None:
        if self._opening is opening and self._opening_unwanted:
            self._opening = None
            if not opening.cancelled() and opening.exception() is None:
                self._release(opening.result())

    def _open_error(self, err: Exception) -> DriverError:
        number = _errno_of(err)
        if number in _GONE:
            return DeviceGone(self._device, f"port {self._path} is not there; check cable and power")
        if number in {errno.EAGAIN, errno.EBUSY}:
            return PortUnusable(self._device, f"port {self._path} is held by another program; only one may own it")
        if number in {errno.EACCES, errno.EPERM}:
            return PortUnusable(self._device, f"no permission for port {self._path}; is the user in its group?")
        why = os.strerror(number) if number else type(err).__name__
        return PortUnusable(self._device, f"port {self._path} cannot be set up as a serial port: {why}")


def _close_blocking(descriptor: int) -> None:
    """Runs in a thread. Throws away what was not sent: half a request must not come out when the port drains again."""
    with contextlib.suppress(OSError, termios.error):
        termios.tcflush(descriptor, termios.TCIOFLUSH)
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _errno_of(err: BaseException) -> int | None:
    """The number behind an error of pyserial, which hides some of them in the context of its own."""
    seen: BaseException | None = err
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return seen.errno
        if isinstance(seen, termios.error) and seen.args and isinstance(seen.args[0], int):
            return seen.args[0]
        seen = seen.__cause__ or seen.__context__
    return None
