"""The fault catalogue: complete, worded for people, and stable."""

from __future__ import annotations

import re

import pytest

from agent.contract.faults import CATALOGUE, FaultKind, Lasts, impact_on
from agent.contract.health import Impact, Severity, State

RAISED_HERE = {
    *(f"HW-PRN-{number:03}" for number in range(1, 9)),
    *("HST-MEM-001", "HST-CPU-001", "HST-STO-001", "HST-STO-002", "NET-MQT-001", "SW-AGT-001", "SW-AGT-002"),
    *("SEC-PAN-001", "SEC-SIG-001", "SEC-RPL-001", "SEC-BND-001", "SEC-AUT-001", "SEC-AUD-001"),
    *("TXN-CON-001", "TXN-JRN-001", "TXN-JRN-002", "TXN-REV-001", "TXN-SAF-001", "TXN-BAT-001", "SW-APP-001"),
}
MARKED_S1 = {
    *("HW-PRN-006", "TXN-JRN-001", "TXN-JRN-002", "SEC-PAN-001", "SEC-BND-001", "SEC-SIG-001", "SEC-AUD-001"),
    "HST-STO-005",
}


def test_every_code_that_can_be_raised_is_there() -> None:
    assert set(CATALOGUE) >= RAISED_HERE


def test_severities_are_those_that_the_trade_marks() -> None:
    assert {code for code, kind in CATALOGUE.items() if kind.severity is Severity.S1} == MARKED_S1
    assert CATALOGUE["HW-PRN-003"].severity is Severity.S3


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=lambda kind: kind.code)
def test_an_entry_says_what_is_so_and_what_to_do(kind: FaultKind) -> None:
    assert re.fullmatch(r"[A-Z]{2,3}-[A-Z]{3}-\d{3}", kind.code)
    assert CATALOGUE[kind.code] is kind
    assert 10 < len(kind.text) <= 80
    assert not kind.text.endswith(".")
    assert 20 < len(kind.what_to_do) <= 160
    assert kind.what_to_do.endswith(".")
    assert (kind.impact is Impact.SECURITY) == kind.code.startswith("SEC-")
    assert kind.ages_out_s > 0 or kind.lasts is not Lasts.AGES_OUT


@pytest.mark.parametrize("state", [State.FAILED, State.UNKNOWN])
def test_what_puts_a_required_device_out_of_work_stops_the_sale(state: State) -> None:
    paper_end = CATALOGUE["HW-PRN-002"]
    assert impact_on(paper_end, state, required=True) is Impact.SALE
    assert impact_on(paper_end, state, required=False) is Impact.PRINT


def test_what_only_degrades_a_required_device_does_not() -> None:
    for code in ("HW-PRN-003", "HW-PRN-007"):
        assert impact_on(CATALOGUE[code], State.DEGRADED, required=True) is CATALOGUE[code].impact
