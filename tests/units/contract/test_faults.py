"""The fault catalogue: complete, worded for people, and stable."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from agent.contract.fault_catalogue import hardware, host, network, security, software, transaction
from agent.contract.faults import CATALOGUE, FaultKind, Lasts, impact_on
from agent.contract.health import Impact, Severity, State

PUBLISHED = """
HW-PRN 001 002 003 004 005 006! 007 008    HW-KPD 001 002 003    HW-SCR 001 002 003    HW-PWR 001 002 003
HW-SCN 001    HW-CRD 001    HW-CDR 001    HW-DSP 001
SW-AGT 001 002    SW-APP 001    SW-SVC 001    SW-UPD 001 002 003!
HST-MEM 001    HST-CPU 001    HST-THM 001    HST-STO 001 002 003 004 005!    HST-CLK 001 002
NET-LNK 001 002    NET-RTE 001    NET-GWY 001    NET-DNS 001 002    NET-TCP 001    NET-TLS 001 002
NET-CPT 001    NET-WLN 001    NET-CEL 001    NET-MQT 001
TXN-JRN 001! 002! 003    TXN-BKP 001 002    TXN-REV 001    TXN-BAT 001 002!    TXN-CON 001    TXN-SAF 001
SEC-TMP 001!    SEC-PED 001! 002!    SEC-PAN 001!    SEC-BND 001!    SEC-SIG 001!    SEC-RPL 001    SEC-AUT 001
SEC-FIM 001!    SEC-AUD 001!    SEC-SWI 001!    SEC-RBK 001!
"""
"""The table as it is published; ``!`` marks severity S1. A code is never taken out, and never means something else."""


def _published() -> dict[str, bool]:
    """Code → is S1."""
    found: dict[str, bool] = {}
    domain = ""
    for word in PUBLISHED.split():
        if "-" in word:
            domain = word
        else:
            found[f"{domain}-{word.rstrip('!')}"] = word.endswith("!")
    return found


def test_the_catalogue_is_the_published_table_no_more_and_no_less() -> None:
    assert set(CATALOGUE) == set(_published())
    assert len(CATALOGUE) == 73


def test_severities_are_those_that_the_trade_marks() -> None:
    assert {code: kind.severity is Severity.S1 for code, kind in CATALOGUE.items()} == _published()
    assert CATALOGUE["HW-PRN-003"].severity is Severity.S3


def test_no_two_files_of_the_catalogue_hold_the_same_code() -> None:
    kinds = [
        kind.code for domain in (hardware, host, software, network, transaction, security) for kind in domain.KINDS
    ]
    assert len(kinds) == len(set(kinds))


@pytest.mark.parametrize(
    ("domain", "prefixes"),
    [
        (hardware, ("HW-",)),
        (host, ("HST-",)),
        (software, ("SW-",)),
        (network, ("NET-",)),
        (transaction, ("TXN-",)),
        (security, ("SEC-",)),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value.__name__.rpartition(".")[2],
)
def test_a_file_of_the_catalogue_holds_one_domain(domain: ModuleType, prefixes: tuple[str, ...]) -> None:
    assert all(kind.code.startswith(prefixes) for kind in domain.KINDS)


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


@pytest.mark.parametrize(
    "code", ["HW-KPD-001", "HW-KPD-002", "HW-SCR-001", "HW-SCR-002", "HW-SCR-003", "NET-TCP-001", "HST-STO-005"]
)
def test_that_is_so_whatever_kind_of_device_or_part_it_is(code: str) -> None:
    assert impact_on(CATALOGUE[code], State.FAILED, required=True) is Impact.SALE
    assert impact_on(CATALOGUE[code], State.FAILED, required=False) is CATALOGUE[code].impact


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=lambda kind: kind.code)
def test_what_only_degrades_a_required_device_does_not_and_security_stays_security(kind: FaultKind) -> None:
    assert impact_on(kind, State.DEGRADED, required=True) is kind.impact
    if kind.impact is Impact.SECURITY:
        assert impact_on(kind, State.FAILED, required=True) is Impact.SECURITY
