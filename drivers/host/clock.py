"""The wall clock: what the kernel says of its error, and whether it jumped. Setting it is not ours.

Source: ``adjtimex(2)``, read only. Python has no call for it: it is made through cffi's backend where a library has
loaded that already (PyNaCl does), else ``ctypes`` is loaded at the first question, for 0.35 MB more. A jump is a step
of the wall clock against the time since boot, suspended time included; slow correction is none.
"""

from __future__ import annotations

import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from drivers.host_contract import ClockReading, KernelClock

STEP_S: Final = 2.0  # less than this between two readings is correction, not a jump
KEPT_S: Final = 3600.0

_TIMEX: Final = struct.Struct("@Illlli")  # modes, offset, freq, maxerror, esterror, status
_TIMEX_BYTES: Final = 512  # more than any struct timex: the kernel writes all of its own


class _Adjtimex(Protocol):
    def __call__(self, buffer: object, /) -> int: ...


def _load() -> tuple[_Adjtimex, bytearray, object] | None:
    memory = bytearray(_TIMEX_BYTES)  # all zero: modes = 0 only reads
    backend = sys.modules.get("_cffi_backend")
    try:
        call, buffer = _by_cffi(backend, memory) if backend is not None else _by_ctypes(memory)
    except (OSError, AttributeError, TypeError):
        return None
    return call, memory, buffer


def _by_cffi(backend: Any, memory: bytearray) -> tuple[_Adjtimex, object]:
    """What generated bindings do, by hand: ``int adjtimex(char *)`` of the C library that is loaded."""
    char = backend.new_primitive_type("char")
    pointer, number = backend.new_pointer_type(char), backend.new_primitive_type("int")
    library = backend.load_library(None, 0)
    call = library.load_function(backend.new_function_type((pointer,), number, False), "adjtimex")
    buffer = backend.from_buffer(backend.new_array_type(pointer, None), memory)
    return call, buffer


def _by_ctypes(memory: bytearray) -> tuple[_Adjtimex, object]:
    import ctypes  # noqa: PLC0415

    return ctypes.CDLL(None).adjtimex, (ctypes.c_char * _TIMEX_BYTES).from_buffer(memory)


class _Kernel:
    """The call, loaded once."""

    loaded: tuple[_Adjtimex, bytearray, object] | None = None


def read_kernel_clock() -> KernelClock | None:
    """Ask ``adjtimex`` without changing anything; None where it cannot be asked."""
    loaded = _Kernel.loaded = _Kernel.loaded or _load()
    if loaded is None:
        return None
    call, memory, buffer = loaded
    memory[: _TIMEX.size] = bytes(_TIMEX.size)
    if call(buffer) < 0:
        return None
    _modes, _offset, _freq, max_error_us, _estimate, status = _TIMEX.unpack_from(memory)
    return KernelClock(max_error_us, status)


def _since_boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ClockSource:
    """Remembers how wall clock and time since boot stood to each other at the reading before."""

    name = "clock"

    def __init__(
        self,
        *,
        kernel: Callable[[], KernelClock | None] = read_kernel_clock,
        wall: Callable[[], float] = time.time,
        since_boot: Callable[[], float] = _since_boot_s,
    ) -> None:
        self._kernel = kernel
        self._wall = wall
        self._since_boot = since_boot
        self._offset_s: float | None = None
        self._jumps: deque[tuple[float, float]] = deque(maxlen=64)  # when, by how much

    def read(self) -> ClockReading:
        wall_s, now_s = self._wall(), self._since_boot()
        offset_s, before_s = wall_s - now_s, self._offset_s
        self._offset_s = offset_s
        if before_s is not None and abs(offset_s - before_s) >= STEP_S:
            self._jumps.append((now_s, offset_s - before_s))
        while self._jumps and now_s - self._jumps[0][0] > KEPT_S:
            self._jumps.popleft()
        jump_s = max((step_s for _at, step_s in self._jumps), key=abs, default=0.0)
        return ClockReading(self._kernel(), wall_s, jump_s)
