"""An emulated /proc and /sys in a folder: good by default, and every way in which a file can be broken, FIFOs included.

Names are below procfs, or below sysfs when they begin with ``sys/``. Contents have the form of real kernels.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_MEMINFO = """MemTotal:       {total} kB
MemFree:          100000 kB
MemAvailable:   {available} kB
SwapTotal:             0 kB
SwapFree:              0 kB
"""
_ROUTE_HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
_ARP_HEAD = "IP address       HW type     Flags       HW address            Mask     Device\n"


class HostTree:
    """``procfs`` and ``sysfs`` are the roots to give to a host source. Files are replaced, never changed in place."""

    def __init__(self, folder: Path) -> None:
        self.procfs = folder / "proc"
        self.sysfs = folder / "sys"
        self._jiffies = 1000
        self._held: list[int] = []
        self.memory(available_pct=60)
        self.processor(pressure_pct=1)
        self.zone(temp_c=45.0)
        self.interface("eth0")
        self.routes(gateway="192.168.1.1")
        self.write("sys/fs/ext4/features/lazy_itable_init", "supported\n")
        self.ext4()

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

    def zone(self, number: int = 0, *, temp_c: float, trips: dict[str, float] | None = None) -> None:
        """A thermal zone with its trip points; by default passive 85, hot 95, critical 105 °C."""
        folder = f"sys/class/thermal/thermal_zone{number}"
        self.write(f"{folder}/type", "cpu-thermal\n")
        self.write(f"{folder}/temp", f"{round(temp_c * 1000)}\n")
        for index, (kind, at_c) in enumerate((trips or {"passive": 85, "hot": 95, "critical": 105}).items()):
            self.write(f"{folder}/trip_point_{index}_type", f"{kind}\n")
            self.write(f"{folder}/trip_point_{index}_temp", f"{round(at_c * 1000)}\n")

    def cooling(self, number: int, kind: str, state: int) -> None:
        """A means of cooling, such as ``thermal-cpufreq-0`` or ``Fan``."""
        self.write(f"sys/class/thermal/cooling_device{number}/type", f"{kind}\n")
        self.write(f"sys/class/thermal/cooling_device{number}/cur_state", f"{state}\n")

    def interface(self, name: str, *, carrier: bool = True, changes: int = 2, physical: bool = True) -> None:
        """A network interface that is switched on."""
        folder = f"sys/class/net/{name}"
        self.write(f"{folder}/carrier", f"{int(carrier)}\n")
        self.write(f"{folder}/operstate", "up\n" if carrier else "down\n")
        self.write(f"{folder}/carrier_changes", f"{changes}\n")
        if physical:
            self.write(f"{folder}/device/uevent", "DRIVER=e1000e\n")

    def routes(self, *, gateway: str | None, interface: str = "eth0", neighbour_flags: int = 2) -> None:
        """A default route over ``gateway``, known as a neighbour with these flags; None: no default route."""
        lines = [_ROUTE_HEAD, f"{interface}\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0"]
        arp = _ARP_HEAD
        if gateway is not None:
            number = int.from_bytes(bytes(map(int, gateway.split("."))), "little")
            lines.insert(1, f"{interface}\t00000000\t{number:08X}\t0003\t0\t0\t100\t00000000\t0\t0\t0")
            arp += (
                f"{gateway:<16} 0x1         {neighbour_flags:#x}         02:fc:00:00:00:05     *        {interface}\n"
            )
        self.write("net/route", "".join(f"{line:<127}\n" for line in lines))
        self.write(
            "net/ipv6_route", f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200       lo\n"
        )
        self.write("net/arp", arp)

    def battery(self, *, capacity: int, status: str = "Discharging", health: str = "Good", mains: bool = False) -> None:
        """A battery and its charger."""
        folder = "sys/class/power_supply"
        content = {"type": "Battery", "status": status, "capacity": str(capacity), "health": health}
        for name, word in {**content, "voltage_now": "3850000", "temp": "312", "present": "1"}.items():
            self.write(f"{folder}/BAT0/{name}", f"{word}\n")
        self.write(f"{folder}/AC/type", "Mains\n")
        self.write(f"{folder}/AC/online", f"{int(mains)}\n")

    def flash(self, life: str, reserve: str, disk: str = "mmcblk0") -> None:
        """An eMMC, such as life ``0x01 0x02`` and reserve ``0x01``."""
        self.write(f"sys/block/{disk}/device/life_time", f"{life}\n")
        self.write(f"sys/block/{disk}/device/pre_eol_info", f"{reserve}\n")

    def ext4(self, *, errors: int = 0, warnings: int = 0, disk: str = "mmcblk0p2") -> None:
        """What an ext4 file system has counted."""
        self.write(f"sys/fs/ext4/{disk}/errors_count", f"{errors}\n")
        self.write(f"sys/fs/ext4/{disk}/warning_count", f"{warnings}\n")

    # ── files ──────────────────────────────────────────────────────────────────────────────────────────────────
    def path(self, name: str) -> Path:
        """Where a name is."""
        return self.sysfs / name.removeprefix("sys/") if name.startswith("sys/") else self.procfs / name

    def write(self, name: str, content: str | bytes) -> None:
        """Put a regular file in the place of whatever is there."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}")
        beside.write_bytes(content if isinstance(content, bytes) else content.encode())
        beside.replace(path)

    def remove(self, name: str) -> None:
        """Take a file or a whole folder away."""
        path = self.path(name)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    def fifo(self, name: str, *, silent_writer: bool = False) -> None:
        """Put a FIFO there: opening it blocks for ever, or with a silent writer, reading it does."""
        path = self.path(name)
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        if silent_writer:
            self._held.append(os.open(path, os.O_RDWR))

    def let_go(self, name: str) -> None:
        """Let readers of a FIFO come back with nothing, whichever way they hang."""
        self._release(self.path(name))

    def close(self) -> None:
        """Free every reader that still hangs, so that its thread ends."""
        for root in (self.procfs, self.sysfs):
            for path in root.rglob("*"):
                if path.is_fifo():
                    self._release(path)

    def _release(self, path: Path) -> None:
        for descriptor in self._held:
            os.close(descriptor)
        self._held.clear()
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody is reading
            return
