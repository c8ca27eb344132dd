"""How much is left while the terminal runs on its battery, taken from the readings of health as they pass by."""

from __future__ import annotations

from collections.abc import Mapping

from agent.health.monitor import Gauge
from agent.health.sample import Value


class PowerView:
    """``take`` stands before ``gauge`` and hands everything on."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._mains: Value = None
        self._left_pct: Value = None

    def take(self, group: str, readings: Mapping[str, Value]) -> None:
        """Readings of one group, as the monitor gives them."""
        if "battery_pct" in readings or "mains_online" in readings:  # the latter alone: the battery was taken out
            self._left_pct, self._mains = readings.get("battery_pct"), readings.get("mains_online")
        self._gauge(group, readings)

    def on_battery_pct(self) -> float | None:
        """Charge while nothing charges it; None on mains, without battery, or where nobody knows."""
        if self._mains == 1 or not isinstance(self._left_pct, int | float):
            return None
        return float(self._left_pct)
