"""An emulated /proc in a folder: good by default, and every way in which a file can be broken, FIFOs included."""

from __future__ import annotations

import os
from pathlib import Path

_MEMINFO = """MemTotal:       {total} kB
MemFree:          100000 kB
MemAvailable:   {available} kB
SwapTotal:             0 kB
SwapFree:              0 kB
"""


class HostTree:
    """``procfs`` and ``sysfs`` are the roots to give to a host source. Files are replaced, never changed in place."""

    def __init__(self, folder: Path) -> None:
        self.procfs = folder / "proc"
        self.sysfs = folder / "sys"
        (self.procfs / "pressure").mkdir(parents=True)
        self.sysfs.mkdir()
        self._jiffies = 1000
        self._held: list[int] = []
        self.memory(available_pct=60)
        self.processor(pressure_pct=1)

    def memory(self, *, available_pct: float) -> None:
        """What meminfo says."""
        total_kb = 1_000_000
        self.write("meminfo", _MEMINFO.format(total=total_kb, available=round(total_kb * available_pct / 100)))

    def processor(self, *, pressure_pct: float) -> None:
        """What stat, loadavg and the pressure files say; time has passed since the last call."""
        self._jiffies += 1000
        self.write("stat", f"cpu  {self._jiffies} 0 0 {self._jiffies * 3} 0 0 0 0 0 0\nbtime 1\n")
        self.write("loadavg", "0.10 0.20 0.30 1/100 4711\n")
        line = f"avg10={pressure_pct:.2f} avg60={pressure_pct:.2f} avg300={pressure_pct:.2f} total=4711\n"
        for name in ("cpu", "memory", "io"):
            self.write(f"pressure/{name}", f"some {line}full {line}")

    def write(self, name: str, content: str | bytes) -> None:
        """Put a regular file in the place of whatever is there."""
        path = self.procfs / name
        beside = path.with_name(f".{path.name}")
        beside.write_bytes(content if isinstance(content, bytes) else content.encode())
        beside.replace(path)

    def remove(self, name: str) -> None:
        (self.procfs / name).unlink()

    def fifo(self, name: str, *, silent_writer: bool = False) -> None:
        """Put a FIFO there: opening it blocks for ever, or with a silent writer, reading it does."""
        path = self.procfs / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        if silent_writer:
            self._held.append(os.open(path, os.O_RDWR))

    def let_go(self, name: str) -> None:
        """Let readers of a FIFO come back with nothing, whichever way they hang."""
        for descriptor in self._held:
            os.close(descriptor)
        self._held.clear()
        try:
            os.close(os.open(self.procfs / name, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody is reading
            return

    def close(self) -> None:
        """Free every reader that still hangs, so that its thread ends."""
        for path in self.procfs.rglob("*"):
            if path.is_fifo():
                self.let_go(str(path.relative_to(self.procfs)))
