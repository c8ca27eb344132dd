"""Every bit of a printer's status has its condition, and no bit pattern is called good that is not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from agent.contract.health import State
from agent.health.probes.pos_printer import PosPrinterProbe, conditions, rules, sample_of
from agent.health.rules import begin, conclude, observe
from agent.health.sample import Sample
from drivers.contract import PrinterStatus
from drivers.errors import (
    DeviceBusy,
    DeviceFault,
    DeviceGone,
    DeviceOffline,
    DriverError,
    PortUnusable,
    ProtocolViolation,
)

HEALTHY = PrinterStatus(
    **{field.name: False for field in fields(PrinterStatus)},
)
SENSORS = ("cover_open", "near_end", "paper_end")
STATUSES = st.builds(
    PrinterStatus,
    **{
        field.name: st.sampled_from([True, False, None]) if field.name in SENSORS else st.booleans()
        for field in fields(PrinterStatus)
    },
)
RULES = rules(answers=True)


def _settled(status: PrinterStatus) -> tuple[State, list[str | None]]:
    """State and codes once the status has been seen for a minute."""
    tracks = begin(RULES)
    for second in range(0, 60, 5):
        tracks = observe(RULES, tracks, sample_of(status), float(second))
    verdict = conclude(RULES, tracks, answered=True)
    return verdict.state, [rule.code for rule in verdict.active]


@pytest.mark.parametrize(
    ("bit", "codes"),
    [
        ("drawer_pin_high", []),
        ("offline", ["HW-PRN-001"]),
        ("waiting_for_recovery", []),
        ("feed_button_pressed", []),
        ("cover_open", ["HW-PRN-004"]),
        ("paper_fed_by_button", []),
        ("printing_stopped_by_paper_end", ["HW-PRN-002"]),
        ("error_present", ["HW-PRN-005"]),
        ("mechanical_error", ["HW-PRN-005"]),
        ("cutter_error", ["HW-PRN-005"]),
        ("unrecoverable_error", ["HW-PRN-006"]),
        ("auto_recoverable_error", ["HW-PRN-007"]),
        ("near_end", ["HW-PRN-003"]),
        ("paper_end", ["HW-PRN-002"]),
    ],
)
def test_each_bit_means_its_fault(bit: str, codes: list[str]) -> None:
    assert _settled(replace(HEALTHY, **{bit: True}))[1] == codes


def test_every_bit_is_in_the_table_above() -> None:
    table = test_each_bit_means_its_fault.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {bit for bit, _codes in table} == {field.name for field in fields(PrinterStatus)}


@given(STATUSES)
def test_a_printer_that_cannot_print_is_never_ok(status: PrinterStatus) -> None:
    state, codes = _settled(status)
    if status.offline or status.error_present:
        assert state is not State.OK
        assert codes
    if status.paper_end or status.cover_open or status.unrecoverable_error or status.cutter_error:
        assert state is State.FAILED
    if state is State.OK:
        assert codes == []


@given(STATUSES)
def test_a_missing_sensor_is_never_a_no(status: PrinterStatus) -> None:
    seen = conditions(status)
    for name in ("near_end", "cover_open"):
        assert seen[name] is getattr(status, name)
    assert (seen["paper_end"] is None) == (status.paper_end is None)
    if status.printing_stopped_by_paper_end:
        assert seen["paper_end"] or seen["paper_stop"]


@pytest.mark.parametrize("paper_end", [False, None])
def test_a_stop_for_want_of_paper_is_over_when_its_bit_is_gone_with_the_sensor_or_without(
    paper_end: bool | None,
) -> None:
    healthy = replace(HEALTHY, paper_end=paper_end)
    stopped = replace(healthy, printing_stopped_by_paper_end=True)
    tracks = begin(RULES)
    said = []
    for second, status in enumerate([healthy, stopped, stopped, stopped, healthy, healthy, healthy]):
        tracks = observe(RULES, tracks, sample_of(status), float(second))
        verdict = conclude(RULES, tracks, answered=True)
        said.append((verdict.state, verdict.detail, [rule.code for rule in verdict.active]))
    assert [state for state, _detail, _codes in said] == [State.OK] * 2 + [State.FAILED] * 3 + [State.OK] * 2
    assert said[2] == (State.FAILED, "paper end", ["HW-PRN-002"])
    assert said[-1] == (State.OK, "", [])


@dataclass
class _Raising:
    """A driver that only ever raises ``error``."""

    error: DriverError
    name: str = "printer-0"
    category: str = "pos_printer"
    communication_error_count: int = 7

    async def read_status(self, deadline_s: float) -> PrinterStatus:
        raise self.error

    async def print_test_slip(self, deadline_s: float) -> None:
        raise self.error

    async def recover(self, deadline_s: float) -> None:
        raise self.error

    async def initialise(self, deadline_s: float) -> None:
        raise self.error

    async def close(self) -> None:
        return


@pytest.mark.parametrize(
    ("error", "condition"),
    [(DeviceGone, "gone"), (DeviceOffline, "silent"), (ProtocolViolation, "violation"), (PortUnusable, "unusable")],
)
async def test_each_way_of_not_answering_is_a_condition_of_its_own(error: type[DriverError], condition: str) -> None:
    sample = await PosPrinterProbe(_Raising(error("printer-0", "why"))).look(1.0)
    assert not sample.answered
    assert {name for name, seen in sample.seen.items() if seen} == {condition, "unanswered"}
    assert sample.readings == {"communication_errors": 7}


async def test_a_busy_printer_is_no_news() -> None:
    sample: Sample = await PosPrinterProbe(_Raising(DeviceBusy("printer-0", "why"))).look(1.0)
    tracks = observe(RULES, begin(RULES), sample_of(HEALTHY), 0.0)
    assert conclude(RULES, observe(RULES, tracks, sample, 1.0), answered=True).state is State.OK


async def test_an_error_that_a_status_query_cannot_have_is_not_swallowed() -> None:
    with pytest.raises(DeviceFault):
        await PosPrinterProbe(_Raising(DeviceFault("printer-0", "why"))).look(1.0)
