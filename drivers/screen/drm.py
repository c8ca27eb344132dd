"""A screen by its DRM connector and its backlight in sysfs. Nothing is written, nothing is drawn.

Source: kernel DRM sysfs (``status enabled dpms edid modes``) and the stable backlight ABI. Polled: not every change
gives an event. Left out: whether anything can be seen. Built-in panels usually report connected whatever happens.
"""

from __future__ import annotations

import os
import re

from drivers.contract import DeviceSpec
from drivers.errors import HostSourceError, SpecInvalid
from drivers.host.source_file import names_in, read_source
from drivers.screen.edid_wire import edid_problem
from drivers.sysfs_contract import Backlight, Connector, ScreenReading

FOUND_BY = frozenset({"connector", "backlight"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
_STATUS = frozenset({"connected", "disconnected", "unknown"})
_ENABLED = frozenset({"enabled", "disabled"})
_DPMS = frozenset({"On", "Standby", "Suspend", "Off"})


def build_screen(spec: DeviceSpec) -> DrmScreen:
    """A screen.

    Options: ``connector`` (its name without the card's, such as ``HDMI-A-1``: the number of a card may change),
    ``backlight`` (folder below ``/sys/class/backlight``); at least one.

    Raises:
        SpecInvalid: An unknown option, a value that is no such name, or neither of the two.
    """
    problems = [f"unknown option {name}" for name in sorted(spec.options.keys() - FOUND_BY)]
    for name in sorted(FOUND_BY & spec.options.keys()):
        value = spec.options[name]
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            problems.append(f"option {name} is a name as in /sys/class, without slash")
    if not FOUND_BY & spec.options.keys():
        problems.append("options connector and backlight are both missing: there is nothing to look at")
    if problems:
        raise SpecInvalid(spec.name, "; ".join(problems))
    return DrmScreen(spec)


class DrmScreen:
    """See `drivers.sysfs_contract.ListedDevice`."""

    category = "screen"

    def __init__(self, spec: DeviceSpec) -> None:
        self.name = spec.name
        connector, backlight = spec.options.get("connector"), spec.options.get("backlight")
        self._drm = str(spec.sysfs / "class/drm")
        self._connector = re.compile(rf"card[0-9]+-{re.escape(str(connector))}") if connector is not None else None
        self._backlight = str(spec.sysfs / f"class/backlight/{backlight}") if backlight is not None else None

    def read(self) -> ScreenReading:
        return ScreenReading(
            has_connector=self._connector is not None,
            connector=self._read_connector(self._connector) if self._connector is not None else None,
            has_backlight=self._backlight is not None,
            backlight=self._read_backlight(self._backlight) if self._backlight is not None else None,
        )

    async def close(self) -> None:
        return

    def _read_connector(self, wanted: re.Pattern[str]) -> Connector | None:
        """None when the kernel lists no such connector. Of the same one on two cards, the connected one counts."""
        found = None
        for name in names_in(self._drm, self.name):
            if wanted.fullmatch(name):
                connector = self._connector_at(f"{self._drm}/{name}")
                if found is None or connector.status == "connected":
                    found = connector
        return found

    def _connector_at(self, folder: str) -> Connector:
        edid = read_source(f"{folder}/edid", self.name, may_be_empty=True)
        return Connector(
            status=self._word(f"{folder}/status", _STATUS),
            enabled=self._word(f"{folder}/enabled", _ENABLED) == "enabled",
            dpms=self._word(f"{folder}/dpms", _DPMS),
            modes=len(read_source(f"{folder}/modes", self.name, may_be_empty=True).splitlines()),
            edid_bytes=len(edid),
            edid_problem=edid_problem(edid),
        )

    def _read_backlight(self, folder: str) -> Backlight | None:
        """None when the kernel lists no such backlight."""
        if not os.path.isdir(folder):
            return None
        brightness, actual, most = (
            self._number(f"{folder}/{name}") for name in ("brightness", "actual_brightness", "max_brightness")
        )
        if not brightness <= most or most == 0:
            raise HostSourceError(self.name, folder, "its brightness is beyond its greatest")
        return Backlight(brightness, actual, most, powered=self._number(f"{folder}/bl_power") == 0)

    def _word(self, path: str, known: frozenset[str]) -> str:
        word = read_source(path, self.name).decode("ascii", errors="replace").removesuffix("\n")
        if word not in known:
            raise HostSourceError(self.name, path, f"is none of {', '.join(sorted(known))}")
        return word

    def _number(self, path: str) -> int:
        text = read_source(path, self.name).removesuffix(b"\n")
        if not text.isdigit() or len(text) > 9:
            raise HostSourceError(self.name, path, "is no number")
        return int(text)
