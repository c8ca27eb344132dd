"""Strict decoding of records: what is taken, what is refused and by which field, and that no value is ever repeated."""

from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.canonical_json import NotAnInteger
from agent.contract.transaction import NaturalKey, decode_record
from agent.contract.transaction_form import MTI_CLASS, REQUIRED
from agent.errors import BadRequest, CardDataRejected
from tests.kit.store_records import BINDING, BINDINGS, sale, settlement

ORIGINAL = {"transaction_id": "0192f6d0-7c1e-7000-8000-000000000001", "batch_no": "000001", "stan": "000730"}
EVERYTHING = {
    "attempt": 2,
    "mti": "0210",
    "processing_code": "000000",
    "pos_entry_mode": "051",
    "pos_condition_code": "00",
    "rrn": "612345678901",
    "auth_code": "A12345",
    "response_code": "A0",
    "masked_pan": "621234******1232",
    "scheme": "unionpay",
    "channel": "wechat.app_2-x",
    "merchant_order_no": "2026112100012345",
    "provider_txn_no": "4200001234202611211234567890",
    "receipt_no": "R-17/茶",
    "tip_minor": 0,
    "cashback_minor": 1,
    "surcharge_minor": 999_999_999_999,
    "dcc": {"amount_minor": 1, "currency": "840"},
    "original": {**ORIGINAL, "date": "1120", "rrn": "612345678900", "merchant_order_no": "1", "provider_txn_no": "2"},
    "memo": "table 12, two guests, order #2026112100012345",
}


def refusal(params: dict[str, Any]) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        decode_record(params, BINDINGS)
    return caught.value


def of_type(kind: str, **changes: Any) -> dict[str, Any]:
    """The least record of a type."""
    if kind == "settlement":
        return settlement(**changes)
    more = {"original": ORIGINAL, "merchant_order_no": "M1"}
    needed = {name: value for name, value in more.items() if name in REQUIRED[kind]}
    dropped = {name: None for name in ("stan", "batch_no", "currency", "amount_minor") if name not in REQUIRED[kind]}
    return sale(**{**dropped, **needed, "type": kind, **changes})


@pytest.mark.parametrize("kind", sorted(REQUIRED))
def test_the_least_record_of_each_type_is_taken_and_nothing_less(kind: str) -> None:
    least = of_type(kind)
    assert decode_record(least, BINDINGS).canonical == rfc8785.dumps(least)
    for name in least:
        rest = {other: value for other, value in least.items() if other != name}
        assert refusal(rest).field == name


def test_every_optional_field_is_taken_and_hashed_as_received() -> None:
    params = sale(**EVERYTHING)
    record = decode_record(params, BINDINGS)
    assert record.canonical == rfc8785.dumps(params)
    assert record.attempt == 2
    assert decode_record(sale(), BINDINGS).attempt == 1


WRONG: dict[str, tuple[Any, ...]] = {
    "transaction_id": (
        "",
        "x",
        "0192F6D0-7C1E-7000-8000-000000000001",
        1,
        None,
        "0192f6d0-7c1e-7000-8000-000000000001\n",
        "0192f6d07c1e70008000000000000001",
    ),
    "state": (
        "Approved",
        "paid",
        "",
        3,
        ["approved"],
    ),
    "type": (
        "Sale",
        "reversal",
        "",
        None,
        {},
    ),
    "provider": (
        "",
        "a" * 33,
        "a b",
        "é",
        1,
        "a/b",
    ),
    "mid": (
        "",
        "1" * 16,
        "1042 9007",
        True,
    ),
    "tid": (
        "",
        "123456789",
        "1\n",
    ),
    "amount_minor": (
        -1,
        10**12,
        True,
        "1",
        NotAnInteger("1.0"),
        NotAnInteger("1e2"),
        [1],
    ),
    "currency": (
        156,
        "15",
        "1566",
        "CNY",
        "１５６",
        "156 ",
    ),
    "stan": (
        731,
        "731",
        "0007311",
        "00073a",
        "٠٠٠٧٣١",
    ),
    "batch_no": (
        "1",
        "abcdef",
        1,
    ),
    "local_at": (
        "2026-11-21T10:00:00",
        "2026-11-21 10:00:00+08:00",
        "2026-02-30T10:00:00Z",
        "2026-11-21T25:00:00Z",
        "2026-11-21T10:00:00+0800",
        "20261121T100000Z",
        0,
    ),
    "attempt": (
        0,
        -1,
        1_000_000,
        "1",
        True,
        NotAnInteger("1.0"),
    ),
    "mti": (
        "210",
        "02100",
        210,
    ),
    "processing_code": ("00000",),
    "pos_entry_mode": ("05",),
    "pos_condition_code": ("000",),
    "rrn": (
        "61234567890",
        "6123456789012",
        "61234567890!",
    ),
    "auth_code": ("A1234",),
    "response_code": ("0",),
    "masked_pan": (
        "6212341232",
        "621234xxxxxx1232",
    ),
    "scheme": (
        "",
        "union pay",
        "a" * 33,
    ),
    "channel": ("a\u200bb",),
    "merchant_order_no": (
        "",
        "x" * 65,
        17,
    ),
    "tip_minor": (
        -1,
        "0",
        None,
    ),
    "dcc": (
        [],
        "x",
    ),
    "original": (
        {},
        "x",
        [],
    ),
    "totals": (
        [],
        {},
    ),
    "balanced": (True,),
    "memo": (
        "x" * 257,
        1,
        None,
        "\ud800",
    ),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_form_is_refused_by_its_field(name: str, value: Any) -> None:
    params = {**sale(), name: value}
    error = refusal(params)
    assert error.code == "BAD_PARAMS"
    assert error.field == name
    assert error.hint


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"colour": "blue"}, "(unknown)"),
        ({"Stan": "000731"}, "(unknown)"),
        ({"original": {"colour": "blue"}}, "(unknown)"),
        ({"original": {"stan": "1"}}, "original.stan"),
        ({"original": {"stan": None}}, "original.stan"),
        ({"original": {"date": "1301"}}, "original.date"),
        ({"dcc": {"amount_minor": 1}}, "dcc.currency"),
        ({"dcc": {"amount_minor": 1, "currency": "84"}}, "dcc.currency"),
    ],
)
def test_nested_and_unknown_fields_are_named_without_their_content(change: dict[str, Any], field: str) -> None:
    error = refusal({**sale(), **change})
    assert error.field == field
    assert "colour" not in f"{error} {error.hint} {error.facts}"


def test_a_settlements_lines_are_checked_one_by_one() -> None:
    line = {"currency": "156", "debit_count": 1, "debit_minor": 1, "credit_count": 0, "credit_minor": 0}
    assert refusal(settlement(totals=[line, {**line, "debit_minor": -1}])).field == "totals[1].debit_minor"
    assert refusal(settlement(totals=[{**line, "note": "x"}])).field == "(unknown)"
    assert refusal(settlement(totals=[{"currency": "156"}])).field == "totals[0].debit_count"
    assert decode_record(settlement(totals=[]), BINDINGS).fields.totals == ()


@pytest.mark.parametrize("params", [[], "x", None, 1, [sale()]])
def test_a_record_that_is_no_object_is_refused(params: Any) -> None:
    assert refusal(params).code == "BAD_PARAMS"


def test_the_natural_key_follows_the_message_and_its_local_day() -> None:
    late = decode_record(sale(local_at="2026-12-31T23:59:59-05:00"), BINDINGS)
    assert late.natural_key == NaturalKey(*BINDING, "000001", "000731", "2", "2026-12-31")
    reversal = decode_record(sale(mti="0400", state="reversed"), BINDINGS).natural_key
    assert reversal is not None
    assert reversal.mti_class == "4"
    assert decode_record(settlement(), BINDINGS).natural_key is None
    assert set(MTI_CLASS) == set(REQUIRED)


@given(
    st.dictionaries(st.text(max_size=8), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=6))
)
def test_rubbish_is_refused_and_never_crashes(rubbish: dict[str, Any]) -> None:
    error = refusal({**rubbish})
    assert isinstance(error, CardDataRejected) or error.field


@given(st.sampled_from(sorted(sale())), st.text(min_size=5))
def test_no_refused_value_is_in_the_error(name: str, value: str) -> None:
    error = refusal({**sale(), name: f"~{value}~"})
    assert f"~{value}~" not in f"{error!r} {error.message} {error.hint} {error.facts} {error.field}"
