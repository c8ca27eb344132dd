"""Temperatures against the board's own trip points, and whether it slows itself down. Left out: fans, history.

Source: ``class/thermal`` of sysfs (kernel thermal sysfs API): m°C; ``trip_point_N_type`` is critical, hot, passive or
active. A cooling device counts as slowing down only when it is one (processor, devfreq, idle injection): a fan that
turns is no trouble. What a board has is looked up again once in a while and whenever a sensor is gone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from drivers.errors import HostSourceError
from drivers.host.source_file import SourceFile, names_in, read_word
from drivers.host_contract import ThermalReading, ThermalZone

PLAUSIBLE_C: Final = (-40.0, 150.0)

_LOOK_ROUND_AGAIN: Final = 20  # readings
_ZONES_LIMIT: Final = 32
_MILLIDEGREES: Final = re.compile(r"-?\d{1,9}")
_STATE: Final = re.compile(r"-?\d{1,9}")
_THROTTLES: Final = ("thermal-cpufreq", "cpufreq", "thermal-devfreq", "devfreq", "thermal-idle", "idle", "processor")
_TRIP_KINDS: Final = ("passive", "hot", "critical")


class _Zone(NamedTuple):
    """A sensor with what does not change about it."""

    name: str
    kind: str
    temp: SourceFile
    passive_c: float | None
    hot_c: float | None
    critical_c: float | None


class ThermalSource:
    """Trip points are read when a sensor is found; only temperatures and cooling states at each reading."""

    name = "thermal"

    def __init__(self, sysfs: Path) -> None:
        self._folder = str(sysfs / "class/thermal")
        self._zones: list[_Zone] = []
        self._throttles: list[SourceFile] = []
        self._left = 0

    def read(self) -> ThermalReading:
        if self._left <= 0 or not self._zones:
            self._look_round()
        self._left -= 1
        zones = tuple(self._zone(zone) for zone in self._zones)
        return ThermalReading(zones, sum(self._is_in_use(file) for file in self._throttles))

    def _zone(self, zone: _Zone) -> ThermalZone:
        temp_c = parse_temp_c(self._text(zone.temp))
        return ThermalZone(zone.name, zone.kind, temp_c, zone.passive_c, zone.hot_c, zone.critical_c)

    def _is_in_use(self, file: SourceFile) -> bool:
        state = self._text(file)
        return _STATE.fullmatch(state) is not None and int(state) > 0  # intel_powerclamp says -1 when idle

    def _text(self, file: SourceFile) -> str:
        """Its line; empty where there is none now: a zone that is switched off answers EAGAIN or EINVAL."""
        try:
            return file.read().decode("ascii", "replace").strip()
        except HostSourceError:
            self._left = 0  # gone, perhaps
            return ""

    def _look_round(self) -> None:
        names = names_in(self._folder, self.name)
        zones = [name for name in names if name.startswith("thermal_zone")][:_ZONES_LIMIT]
        coolers = [name for name in names if name.startswith("cooling_device")][:_ZONES_LIMIT]
        self._zones = [self._found(name) for name in zones]
        self._throttles = [
            self._file(f"{name}/cur_state") for name in coolers if self._kind(name).lower().startswith(_THROTTLES)
        ]
        self._left = _LOOK_ROUND_AGAIN

    def _found(self, name: str) -> _Zone:
        trips: dict[str, float] = {}
        for file in names_in(f"{self._folder}/{name}", self.name):
            if file.startswith("trip_point_") and file.endswith("_type"):
                kind = read_word(f"{self._folder}/{name}/{file}", self.name)
                temp = read_word(f"{self._folder}/{name}/{file.removesuffix('_type')}_temp", self.name)
                temp_c = parse_temp_c(temp or "")
                if kind in _TRIP_KINDS and temp_c is not None and temp_c > 0:  # 0 and less: the board has not set it
                    trips[kind] = min(temp_c, trips.get(kind, temp_c))
        passive_c, hot_c, critical_c = (trips.get(kind) for kind in _TRIP_KINDS)
        return _Zone(name, self._kind(name), self._file(f"{name}/temp"), passive_c, hot_c, critical_c)

    def _kind(self, name: str) -> str:
        return (read_word(f"{self._folder}/{name}/type", self.name) or "")[:40]

    def _file(self, below: str) -> SourceFile:
        return SourceFile(f"{self._folder}/{below}", self.name, limit_bytes=64)


def parse_temp_c(text: str) -> float | None:
    """m°C as °C; None for what is no number, or a temperature that no working sensor of a terminal gives."""
    if _MILLIDEGREES.fullmatch(text) is None:
        return None
    temp_c = int(text) / 1000
    return temp_c if PLAUSIBLE_C[0] <= temp_c <= PLAUSIBLE_C[1] else None
