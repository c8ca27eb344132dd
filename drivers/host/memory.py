"""Main memory and swap. Source: ``meminfo`` of procfs, in kB. Left out: who uses it."""

from __future__ import annotations

from pathlib import Path

from drivers.errors import HostSourceError
from drivers.host.source_file import SourceFile
from drivers.host_contract import MemoryReading

_KB = 1024
_FIELDS = (b"MemTotal:", b"MemAvailable:", b"SwapTotal:", b"SwapFree:")


class MemorySource:
    """Reads ``MemAvailable``, not ``MemFree``: the kernel's own estimate of what can still be had."""

    name = "memory"

    def __init__(self, procfs: Path) -> None:
        self._file = SourceFile(str(procfs / "meminfo"), self.name)

    def read(self) -> MemoryReading:
        return parse_meminfo(self._file.read(), self._file.path)


def parse_meminfo(content: bytes, path: str) -> MemoryReading:
    """Read the four fields; the others may be anything.

    Raises:
        HostSourceError: A field is missing or not a number of kB, or more is available than there is.
    """
    total, available, swap_total, swap_free = (_field_bytes(content, name, path) for name in _FIELDS)
    if not 0 < total >= available or swap_free > swap_total:
        raise HostSourceError("memory", path, "numbers contradict each other")
    return MemoryReading(total, available, swap_total, swap_free)


def _field_bytes(content: bytes, name: bytes, path: str) -> int:
    start = content.find(name)
    while start > 0 and content[start - 1] != 0x0A:  # only at the beginning of a line
        start = content.find(name, start + 1)
    end = content.find(b"\n", start)
    if start < 0 or end < 0:
        raise HostSourceError("memory", path, f"has no complete line {name.decode()}")
    number, _blank, unit = content[start + len(name) : end].strip().partition(b" ")
    if not number.isdigit() or unit != b"kB":
        raise HostSourceError("memory", path, f"has no number of kB in line {name.decode()}")
    return int(number) * _KB
