"""What operations are told of the battery: its charge while it is being used up, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from agent.boot.power import PowerView
from agent.health.probes.power import sample_of
from agent.health.sample import Value
from drivers.host_contract import Battery, PowerReading


def _view(reading: PowerReading) -> tuple[PowerView, list[tuple[str, Mapping[str, Value]]]]:
    passed: list[tuple[str, Mapping[str, Value]]] = []
    view = PowerView(lambda group, readings: passed.append((group, readings)))
    view.take("host", sample_of(reading).readings)
    return view, passed


def _battery(capacity_pct: int | None) -> Battery:
    return Battery("BAT0", "Discharging", capacity_pct, None, None, None)


@pytest.mark.parametrize(
    ("reading", "left_pct"),
    [
        (PowerReading((_battery(12),), False), 12.0),
        (PowerReading((_battery(12),), None), 12.0),
        (PowerReading((_battery(12),), True), None),
        (PowerReading((_battery(None),), False), None),
        (PowerReading((), True), None),
        (PowerReading((), None), None),
    ],
)
def test_only_a_battery_that_is_used_up_has_a_charge_that_matters(
    reading: PowerReading, left_pct: float | None
) -> None:
    assert _view(reading)[0].on_battery_pct() == left_pct


def test_before_the_first_reading_nothing_is_known_and_every_reading_is_handed_on() -> None:
    assert PowerView(lambda _group, _readings: None).on_battery_pct() is None
    view, passed = _view(PowerReading((_battery(12),), False))
    view.take("printer-0", {"communication_errors": 1})
    assert [group for group, _readings in passed] == ["host", "printer-0"]
    assert view.on_battery_pct() == 12.0


def test_a_battery_that_was_taken_out_holds_nothing_back_any_more() -> None:
    view, _passed = _view(PowerReading((_battery(12),), False))
    view.take("host", sample_of(PowerReading((), False)).readings)
    assert view.on_battery_pct() is None
