"""Batteries and chargers. Left out: batteries of what is plugged in (scope Device), the cell of the clock.

Source: ``class/power_supply/<name>`` of sysfs: ``capacity`` in percent, ``voltage_now`` in µV, ``temp`` in 0.1 °C. Few
drivers tell everything; what one does not tell is ``None``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from drivers.errors import HostSourceError
from drivers.host.source_file import names_in, read_word
from drivers.host_contract import Battery, PowerReading

_SUPPLIES_LIMIT: Final = 16
_PLAUSIBLE_C: Final = (-40.0, 120.0)


class PowerSource:
    """Everything is read anew each time: supplies come and go with the plug."""

    name = "power"

    def __init__(self, sysfs: Path) -> None:
        self._folder = str(sysfs / "class/power_supply")

    def read(self) -> PowerReading:
        batteries, online = [], []
        for name in names_in(self._folder, self.name)[:_SUPPLIES_LIMIT]:
            kind = self._word(name, "type")
            if kind == "Battery":
                battery = self._battery(name)
                if battery is not None:
                    batteries.append(battery)
            elif kind is not None:  # Mains, USB, USB_PD, Wireless, UPS
                online.append(self._number(name, "online", 0, 2))
        told = [one > 0 for one in online if one is not None]
        return PowerReading(tuple(batteries), any(told) if told else None)

    def _battery(self, name: str) -> Battery | None:
        if self._word(name, "scope") == "Device" or self._number(name, "present", 0, 1) == 0:
            return None
        temp, voltage_uv = self._number(name, "temp", -10_000, 10_000), self._number(name, "voltage_now", 0, 10**9)
        temp_c = None if temp is None else temp / 10
        plausible = temp_c is not None and _PLAUSIBLE_C[0] <= temp_c <= _PLAUSIBLE_C[1]
        return Battery(
            name=name,
            status=self._word(name, "status"),
            capacity_pct=self._number(name, "capacity", 0, 100),
            health=self._word(name, "health"),
            temp_c=temp_c if plausible else None,
            voltage_v=None if voltage_uv is None else voltage_uv / 1_000_000,
        )

    def _word(self, name: str, file: str) -> str | None:
        word = read_word(f"{self._folder}/{name}/{file}", self.name)
        return word[:40] if word else None

    def _number(self, name: str, file: str, least: int, most: int) -> int | None:
        word = self._word(name, file)
        return None if word is None else parse_number(word, least, most, f"{self._folder}/{name}/{file}")


def parse_number(text: str, least: int, most: int, path: str) -> int:
    """A whole number.

    Raises:
        HostSourceError: None, or one that cannot be.
    """
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 12 and least <= int(text) <= most):
        raise HostSourceError(PowerSource.name, path, f"is not a number from {least} to {most}")
    return int(text)
