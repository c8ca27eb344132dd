"""CPU of one look at the board: beside psutil reading the same things, and beside reading the same files unparsed.

The floor keeps every file open and reads it once, without looking at what it says. Counted is CPU time of the process,
the least of interleaved rounds: what neighbours on the processor take away is not ours. What changes slowly is looked
at in each third, sixth or thirtieth round: told is what a round costs on the average of thirty, and what one with
everything costs.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from agent.health.catalog import HOST_PARTS, Judging, host_subjects
from agent.health.subject import Subject, Watched
from drivers.catalog import HOST_SOURCES
from drivers.host_contract import Board
from tests.bench.row import Row

ROUNDS, LOOKS = 60, 15
LIMIT_US = 60.0


def _files() -> list[str]:
    """What one look at everything reads on this machine."""
    found = ["stat", "loadavg", "meminfo", "pressure/cpu", "pressure/memory", "pressure/io", "net/route", "net/arp"]
    files = [f"/proc/{name}" for name in found]
    for folder, names in (
        ("/sys/class/net", ("operstate", "carrier", "carrier_changes")),
        ("/sys/class/thermal", ("temp", "cur_state")),
        ("/sys/class/power_supply", ("type", "status", "capacity", "health", "voltage_now", "temp", "online")),
        ("/sys/fs/ext4", ("errors_count", "warning_count")),
        ("/sys/block", ("device/life_time", "device/pre_eol_info")),
    ):
        for one in sorted(Path(folder).glob("*")):
            if folder != "/sys/class/net" or (one / "device").exists():
                files += [str(one / name) for name in names]
    return files


class _Floor:
    def __init__(self) -> None:
        self._descriptors = []
        for name in _files():
            with contextlib.suppress(OSError):
                descriptor = os.open(name, os.O_RDONLY)
                try:
                    os.pread(descriptor, 65536, 0)
                except OSError:
                    os.close(descriptor)
                else:
                    self._descriptors.append(descriptor)

    def look(self) -> None:
        for descriptor in self._descriptors:
            os.pread(descriptor, 65536, 0)
        os.statvfs("/")

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)


def _psutil_look() -> None:
    psutil.cpu_percent()
    psutil.virtual_memory()
    psutil.swap_memory()
    psutil.getloadavg()
    psutil.disk_usage("/")
    psutil.net_if_stats()
    psutil.sensors_temperatures()
    psutil.sensors_battery()


def _looker(watched: Sequence[Watched]) -> Callable[[], None]:
    """Reads, parses, makes samples and judges them, as the monitor does; without its thread and its store."""

    def look() -> None:
        now_s = time.monotonic()
        for one in watched:
            if one.subject.host is not None:
                one.take(one.subject.host(), now_s)

    return look


def _cpu_us(look: Callable[[], None]) -> float:
    begun = time.process_time()
    for _ in range(LOOKS):
        look()
    return (time.process_time() - begun) / LOOKS * 1e6


def report() -> list[Row]:
    """The least over interleaved rounds."""
    board = Board(Path("/proc"), Path("/sys"))
    subjects: list[Subject] = host_subjects([build(board) for build in HOST_SOURCES.values()], Judging())
    looks = {one.name: _looker([Watched(one)]) for one in subjects}
    everything = _looker([Watched(one) for one in subjects])
    floor = _Floor()
    costs: dict[str, list[float]] = {name: [] for name in (*looks, "everything", "floor", "psutil")}
    try:
        for _ in range(ROUNDS):
            for name, look in (
                *looks.items(),
                ("everything", everything),
                ("floor", floor.look),
                ("psutil", _psutil_look),
            ):
                costs[name].append(_cpu_us(look))
    finally:
        floor.close()
    cost = {name: min(values) for name, values in costs.items()}
    average = sum(cost[name] / HOST_PARTS[name].every for name in looks)
    parts = ", ".join(f"{name} {cost[name]:.0f}" for name in looks)
    print(f"health round: one look costs, in µs CPU: {parts}")
    return [
        Row("health round, average of 30", average, "µs CPU", LIMIT_US, cost["psutil"], "psutil", absolute=True),
        Row("health round, everything", cost["everything"], "µs CPU", 1.0, cost["psutil"], "psutil"),
        Row("health round, everything", cost["everything"], "µs CPU", 3.0, cost["floor"], "same files unparsed"),
    ]
