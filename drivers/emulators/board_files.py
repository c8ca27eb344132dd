"""What the files of an emulated terminal's board say: settings and counters in, paths and contents out. Pure.

Source: procfs and sysfs of Linux 6.1 as a countertop terminal shows them: one Ethernet, eMMC, a battery behind mains, a
keypad, a touch panel, one HDMI screen and its backlight. Left out: whatever the agent does not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from drivers.inputs.capability_wire import (
    ABS_MT_POSITION_X,
    ABS_MT_POSITION_Y,
    ABS_X,
    ABS_Y,
    BTN_TOUCH,
    INPUT_PROP_DIRECT,
    format_bitmap,
)
from drivers.screen.edid_wire import HEADER, with_checksum

HERTZ = 100
PROCESSORS = 2
KEYPAD_EVENT, TOUCH_EVENT = "event1", "event2"
KEYPAD_NAME, TOUCH_NAME = "Emulated POS Keypad", "Emulated Touch Panel"
CONNECTOR, BACKLIGHT = "HDMI-A-1", "panel"
_TOTAL_KB = 1_000_000
_KEYPAD_KEYS = frozenset({1, *range(2, 12), 14, 28, 59, 60, 61, 62})  # escape, digits, backspace, enter, four more


@dataclass
class Settings:
    """What is so on this board. Numbers have their unit in the name; ``wear``: 1 is new, 10 nearly used up, 11 over.

    ``vanish``, ``empty``, ``rubbish`` and ``block`` name files or folders that are broken so, with commas between.
    """

    temperature_c: float = 45.0
    throttled: bool = False
    memory_available_pct: float = 60.0
    oom_kills: float = 0
    cpu_busy_pct: float = 5.0
    cpu_pressure_pct: float = 0.5
    memory_pressure_pct: float = 0.0
    io_pressure_pct: float = 0.5
    carrier: bool = True
    route: bool = True
    gateway: bool = True
    network_errors_per_s: float = 0.0
    mains: bool = True
    battery_pct: float = 100.0
    battery_worn: bool = False
    wear: float = 1
    reserve_wear: float = 1
    ext4_errors: float = 0
    keypad_gone: bool = False
    touch_gone: bool = False
    screen_disconnected: bool = False
    screen_off: bool = False
    edid_corrupt: bool = False
    edid_missing: bool = False
    brightness: float = 80
    backlight_off: bool = False
    vanish: str = ""
    empty: str = ""
    rubbish: str = ""
    block: str = ""


@dataclass
class Counters:
    """What only grows. Seconds are of the board's own uptime."""

    uptime_s: float = 0.0
    busy_s: float = 0.0
    cpu_stalled_s: float = 0.0
    memory_stalled_s: float = 0.0
    io_stalled_s: float = 0.0
    rx_bytes: float = 0.0
    tx_bytes: float = 0.0
    rx_errors: float = 0.0
    carrier_changes: int = 1
    boots: int = 1

    def advance(self, seconds: float, settings: Settings) -> None:
        """Let time pass."""
        self.uptime_s += seconds
        self.busy_s += seconds * PROCESSORS * settings.cpu_busy_pct / 100
        self.cpu_stalled_s += seconds * settings.cpu_pressure_pct / 100
        self.memory_stalled_s += seconds * settings.memory_pressure_pct / 100
        self.io_stalled_s += seconds * settings.io_pressure_pct / 100
        if settings.carrier:
            self.rx_bytes += seconds * 1500
            self.tx_bytes += seconds * 900
            self.rx_errors += seconds * settings.network_errors_per_s


def files(settings: Settings, counters: Counters, boot_id: str) -> dict[str, bytes]:
    """Every file there is, by its path below the board's folder."""
    found: dict[str, bytes] = {}
    for group in (
        _processor(settings, counters),
        _memory(settings),
        _kernel(settings, counters, boot_id),
        _network(settings, counters),
        _heat(settings),
        _power(settings),
        _storage(settings),
        _inputs(settings),
        _screen(settings),
    ):
        found.update((path, content if isinstance(content, bytes) else content.encode()) for path, content in group)
    return found


_Content = tuple[str, str | bytes]


def _processor(settings: Settings, counters: Counters) -> Iterator[_Content]:
    busy = round(counters.busy_s * HERTZ)
    idle = round(counters.uptime_s * PROCESSORS * HERTZ) - busy
    line = f"{busy} 0 0 {max(idle, 0)} 0 0 0 0 0 0"
    yield "proc/stat", f"cpu  {line}\ncpu0 {line}\nintr 0\nctxt 0\nbtime 1750000000\nprocesses 1\n"
    load = settings.cpu_busy_pct * PROCESSORS / 100
    yield "proc/loadavg", f"{load:.2f} {load:.2f} {load:.2f} 1/100 4711\n"
    for name, share_pct, stalled_s in (
        ("cpu", settings.cpu_pressure_pct, counters.cpu_stalled_s),
        ("memory", settings.memory_pressure_pct, counters.memory_stalled_s),
        ("io", settings.io_pressure_pct, counters.io_stalled_s),
    ):
        numbers = f"avg10={share_pct:.2f} avg60={share_pct:.2f} avg300={share_pct:.2f} total={round(stalled_s * 1e6)}\n"
        yield f"proc/pressure/{name}", f"some {numbers}full {numbers}"
    for number in range(PROCESSORS):
        folder = f"sys/devices/system/cpu/cpu{number}/cpufreq"
        yield f"{folder}/cpuinfo_max_freq", "1800000\n"
        yield f"{folder}/scaling_max_freq", "900000\n" if settings.throttled else "1800000\n"


def _memory(settings: Settings) -> Iterator[_Content]:
    available_kb = round(_TOTAL_KB * settings.memory_available_pct / 100)
    yield (
        "proc/meminfo",
        f"MemTotal:        {_TOTAL_KB} kB\nMemFree:         {available_kb // 2} kB\n"
        f"MemAvailable:    {available_kb} kB\nSwapTotal:             0 kB\nSwapFree:              0 kB\n",
    )
    yield "proc/vmstat", f"nr_free_pages {available_kb // 8}\noom_kill {round(settings.oom_kills)}\n"


def _kernel(settings: Settings, counters: Counters, boot_id: str) -> Iterator[_Content]:
    yield "proc/uptime", f"{counters.uptime_s:.2f} {max(counters.uptime_s * PROCESSORS - counters.busy_s, 0):.2f}\n"
    yield "proc/sys/kernel/random/boot_id", f"{boot_id}\n"
    yield "proc/sys/kernel/osrelease", "6.1.0-emulated\n"


def _network(settings: Settings, counters: Counters) -> Iterator[_Content]:
    folder = "sys/class/net/eth0"
    yield f"{folder}/carrier", f"{settings.carrier:d}\n"
    yield f"{folder}/operstate", "up\n" if settings.carrier else "down\n"
    yield f"{folder}/speed", "1000\n" if settings.carrier else "-1\n"
    yield f"{folder}/carrier_changes", f"{counters.carrier_changes}\n"
    yield f"{folder}/address", "02:00:00:00:00:01\n"
    yield f"{folder}/flags", "0x1003\n"
    yield f"{folder}/device/uevent", "DRIVER=emulated\n"  # what has this is hardware
    for name, value in (("rx_bytes", counters.rx_bytes), ("tx_bytes", counters.tx_bytes)):
        yield f"{folder}/statistics/{name}", f"{round(value)}\n"
        yield f"{folder}/statistics/{name.replace('bytes', 'packets')}", f"{round(value / 300)}\n"
    for name in ("rx_errors", "tx_errors", "rx_dropped", "tx_dropped"):
        yield f"{folder}/statistics/{name}", f"{round(counters.rx_errors) if name == 'rx_errors' else 0}\n"
    head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
    rows = ["eth0\t0002000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0"]
    if settings.route:
        rows.insert(0, "eth0\t00000000\t0202000A\t0003\t0\t0\t100\t00000000\t0\t0\t0")  # by 10.0.2.2
    yield "proc/net/route", "".join(f"{row:<127}\n" for row in [head, *(rows if settings.carrier else [])])
    yield "proc/net/ipv6_route", b""
    answers, address = ("0x2", "02:00:00:00:00:02") if settings.gateway else ("0x0", "00:00:00:00:00:00")
    neighbour = f"{'10.0.2.2':<16} 0x1         {answers:<11} {address}     *        eth0\n"
    yield "proc/net/arp", "IP address       HW type     Flags       HW address            Mask     Device\n" + neighbour


def _heat(settings: Settings) -> Iterator[_Content]:
    zone, cooler = "sys/class/thermal/thermal_zone0", "sys/class/thermal/cooling_device0"
    yield f"{zone}/type", "cpu-thermal\n"
    yield f"{zone}/temp", f"{round(settings.temperature_c * 1000)}\n"
    for number, (kind, limit_c) in enumerate((("passive", 85), ("critical", 105))):
        yield f"{zone}/trip_point_{number}_type", f"{kind}\n"
        yield f"{zone}/trip_point_{number}_temp", f"{limit_c * 1000}\n"
    yield f"{cooler}/type", "cpufreq-cpu0\n"
    yield f"{cooler}/max_state", "4\n"
    yield f"{cooler}/cur_state", f"{3 * settings.throttled}\n"


def _power(settings: Settings) -> Iterator[_Content]:
    mains, battery = "sys/class/power_supply/AC", "sys/class/power_supply/BAT0"
    yield f"{mains}/type", "Mains\n"
    yield f"{mains}/online", f"{settings.mains:d}\n"
    status = ("Full" if settings.battery_pct >= 100 else "Charging") if settings.mains else "Discharging"
    values: Mapping[str, str] = {
        "type": "Battery",
        "present": "1",
        "status": status,
        "capacity": f"{round(settings.battery_pct)}",
        "health": "Dead" if settings.battery_worn else "Good",
        "voltage_now": f"{round((3.3 + 0.9 * settings.battery_pct / 100) * 1e6)}",
        "temp": "305",
        "charge_full_design": "2600000",
        "charge_full": "900000" if settings.battery_worn else "2500000",
    }
    for name, value in values.items():
        yield f"{battery}/{name}", f"{value}\n"


def _storage(settings: Settings) -> Iterator[_Content]:
    wear, reserve = round(settings.wear), round(settings.reserve_wear)
    yield "sys/block/mmcblk0/device/life_time", f"0x{wear:02x} 0x{wear:02x}\n"
    yield "sys/block/mmcblk0/device/pre_eol_info", f"0x{reserve:02x}\n"
    yield "sys/block/mmcblk0/device/type", "MMC\n"
    yield "sys/block/mmcblk0/size", "15269888\n"
    errors = round(settings.ext4_errors)
    ext4 = "sys/fs/ext4/mmcblk0p2"
    yield f"{ext4}/errors_count", f"{errors}\n"
    yield f"{ext4}/warning_count", "0\n"
    yield f"{ext4}/first_error_time", f"{1_750_000_000 if errors else 0}\n"
    yield f"{ext4}/last_error_time", f"{1_750_000_000 if errors else 0}\n"
    yield f"{ext4}/lifetime_write_kbytes", "123456\n"


def _inputs(settings: Settings) -> Iterator[_Content]:
    if not settings.keypad_gone:
        yield from _input(KEYPAD_EVENT, KEYPAD_NAME, "usb-emulated-1/input0", keys=_KEYPAD_KEYS)
    if not settings.touch_gone:
        yield from _input(
            *(TOUCH_EVENT, TOUCH_NAME, "i2c-emulated-2/input0"),
            keys=frozenset({BTN_TOUCH}),
            axes=frozenset({ABS_X, ABS_Y, ABS_MT_POSITION_X, ABS_MT_POSITION_Y}),
            properties=frozenset({INPUT_PROP_DIRECT}),
        )


def _input(
    event: str,
    name: str,
    phys: str,
    *,
    keys: frozenset[int],
    axes: frozenset[int] = frozenset(),
    properties: frozenset[int] = frozenset(),
) -> Iterator[_Content]:
    folder = f"sys/class/input/{event}/device"
    yield f"{folder}/name", f"{name}\n"
    yield f"{folder}/phys", f"{phys}\n"
    yield f"{folder}/uniq", "\n"
    for file, number in (("bustype", 3), ("vendor", 0x1209), ("product", int(event[-1])), ("version", 1)):
        yield f"{folder}/id/{file}", f"{number:04x}\n"
    yield f"{folder}/properties", format_bitmap(properties)
    yield f"{folder}/capabilities/key", format_bitmap(keys)
    yield f"{folder}/capabilities/abs", format_bitmap(axes)


def _screen(settings: Settings) -> Iterator[_Content]:
    folder, backlight = f"sys/class/drm/card0-{CONNECTOR}", f"sys/class/backlight/{BACKLIGHT}"
    is_there = not settings.screen_disconnected
    is_on = is_there and not settings.screen_off
    yield f"{folder}/status", "connected\n" if is_there else "disconnected\n"
    yield f"{folder}/enabled", "enabled\n" if is_on else "disabled\n"
    yield f"{folder}/dpms", "On\n" if is_on else "Off\n"
    yield f"{folder}/modes", "1280x800\n1024x768\n" if is_there else b""
    yield f"{folder}/edid", edid(corrupt=settings.edid_corrupt) if is_there and not settings.edid_missing else b""
    is_lit = is_on and not settings.backlight_off
    brightness = round(settings.brightness)
    yield f"{backlight}/max_brightness", "100\n"
    yield f"{backlight}/brightness", f"{brightness}\n"
    yield f"{backlight}/actual_brightness", f"{brightness if is_lit else 0}\n"
    yield f"{backlight}/bl_power", "0\n" if is_lit else "4\n"


def edid(*, corrupt: bool = False) -> bytes:
    """One block of 128 bytes with the right beginning and sum; a corrupt one has a bit turned over."""
    block = bytearray(with_checksum((HEADER + b"\x42\x42" + bytes(117))[:127]))
    if corrupt:
        block[40] ^= 0x10
    return bytes(block)
