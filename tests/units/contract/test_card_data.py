"""The guard R1 to R7: the published test values in every disguise, and legitimate records that must pass."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract import card_data
from agent.contract.canonical_json import NotAnInteger
from agent.contract.card_data_rules import luhn
from agent.contract.transaction import decode_record
from agent.errors import CardDataRejected
from tests.kit.store_records import BINDINGS, sale

CARDS = (
    *("4111111111111111", "5555555555554444", "2223003122003222", "378282246310005"),
    *("6011111111111117", "3530111333300000", "30569309025904", "6212345678901232"),
)
PAN = CARDS[0]


def rejection(params: dict[str, Any]) -> tuple[str | None, object]:
    with pytest.raises(CardDataRejected) as caught:
        decode_record(params, BINDINGS)
    shown = f"{caught.value!r} {caught.value} {caught.value.hint} {caught.value.facts} {caught.value.field}"
    assert not any(card in shown for card in CARDS)
    return caught.value.field, caught.value.facts["rule"]


DISGUISES: dict[str, Callable[[str], str]] = {
    "plain": lambda pan: pan,
    "spaces": lambda pan: " ".join(pan[i : i + 4] for i in range(0, len(pan), 4)),
    "dashes": lambda pan: "-".join(pan[i : i + 4] for i in range(0, len(pan), 4)),
    "dots": ".".join,
    "unicode dashes": "\u2011".join,
    "no-break spaces": "\u00a0".join,
    "full width": lambda pan: pan.translate({ord("0") + n: 0xFF10 + n for n in range(10)}),
    "arabic digits": lambda pan: pan.translate({ord("0") + n: 0x0660 + n for n in range(10)}),
    "zero width": "\u200b".join,
    "soft hyphens": "\u00ad".join,
    "in words": lambda pan: f"paid with {pan}, thanks",
    "after a number": lambda pan: f"table 12 {pan} 3",
    "glued to letters": lambda pan: f"card{pan}x",
    "json": lambda pan: json.dumps({"note": pan}),
    "json number": lambda pan: f'{{"note": {pan}}}',
    "json escapes": lambda pan: '{"note": "' + "".join(f"\\u{ord(digit):04x}" for digit in pan) + '"}',
    "json inside text": lambda pan: f'see {{"a": ["{pan}"]}} there',
    "hex": lambda pan: pan.encode().hex(),
    "upper hex": lambda pan: f"id {pan.encode().hex().upper()}!",
    "spaced hex": lambda pan: pan.encode().hex(" "),
    "base64": lambda pan: base64.b64encode(pan.encode()).decode(),
    "base64 unpadded": lambda pan: base64.b64encode(f"~{pan}?".encode()).decode().rstrip("="),
    "base64 url": lambda pan: base64.urlsafe_b64encode(f"??>{pan}".encode()).decode(),
    "base64 in text": lambda pan: f"ref {base64.b64encode(f'pan {pan}'.encode()).decode()} end",
    "base64 of utf-16": lambda pan: base64.b64encode(pan.encode("utf-16-le")).decode(),
    "base64 after a letter": lambda pan: f"x{base64.b64encode(pan.encode()).decode()}",
}


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("card", CARDS)
def test_a_card_number_in_free_text_is_found_in_every_disguise(disguise: str, card: str) -> None:
    text = DISGUISES[disguise](card)
    assert card_data.scan_text(text) == "R3"
    assert rejection(sale(memo=text)) == ("memo", "R3")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("4111111111111112", None),  # fails Luhn
        ("6212345678901233", "R4"),  # UnionPay needs no Luhn
        ("8112345678901234", "R4"),
        ("%B4111111111111112^SURNAME/NAME^2512", "R2"),
        ("4111111111111112=25121011234", "R2"),
        ("4111111111111112d25121011234", "R2"),
        (f"%B{PAN}^", "R2"),  # the lowest rule
        ("9999999999999995", "R5"),
        ("490154203237518", "R5"),  # an IMEI
        ("12345678901234567890", "R6"),
        ("1234 5678 9012 3456 7890", "R6"),
        ("41111111****1111", "R7"),
        ("4111********1111", "R7"),
        ("4111 1111 11** 1111", "R7"),
        ("411111111111*1111", "R7"),
        ("************1111", "R7"),
        ("xxxx1111", "R7"),
        ("••••••••••••1111", "R7"),
        ("41111111＊＊＊＊1111", "R7"),
        ('{"pan": "x"}', "R1"),
        ('{"Card_No": 1}', "R1"),
        ("see {'cvv2': '1'} there", "R1"),
        ('{"track2_data": ""}', "R1"),
        ('{"a": {"5F24": "2512"}}', "R1"),
        (base64.b64encode(b'{"PIN block": 1}').decode(), "R1"),
        ('{"\\u0070an": 1}', "R1"),
        (f'{{"cvv": "1", "x": "{PAN}"}}', "R1"),  # the lowest
        (f"{PAN} {base64.b64encode(b'1234 5678 9012 3456 7890').decode()}", "R6"),  # the decoded form goes first
        ("411111******1111", None),
        ("card 411111******1111, table 12", None),
        ("4111 11** **** 1111", None),
        ("411111xxxxxx1111", None),
        ("", None),
        ("order #2026112100012345 at 10:05", None),
        ("2 * 1280 = 2560, rated *****", None),
        ("1920x1080", None),
        ("+86 138 0013 8000", None),
        ("0192f6d0-7c1e-7000-8000-000000000001", None),
        ("2026-11-21T10:00:00.123456+08:00", None),
        ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", None),
        ("panorama: pinned, trackless", None),
    ],
)
def test_the_rule_that_free_text_breaks(text: str, rule: str | None) -> None:
    assert card_data.scan_text(text) == rule


@pytest.mark.parametrize("name", ["merchant_order_no", "provider_txn_no", "receipt_no"])
@pytest.mark.parametrize(
    ("value", "rule"),
    [
        *((card, "R3") for card in CARDS),
        ("4111-1111 1111.1111", "R3"),
        ("４１１１１１１１１１１１１１１１", "R3"),
        ("4111\u200b111111111111", "R3"),
        ("6212345678901233", "R4"),
        ("4111111111111112=2512101", "R2"),
        ('{"pan": 1}', "R1"),
        ("2026112100012345", None),
        ("9999999999999995", None),  # R5 is not for order numbers
        ("12345678901234567890123456", None),  # nor R6
        (f"ORD{PAN}", None),  # the whole value only
        (PAN.encode().hex(), None),  # without decoding
        ("62-12345678", None),
    ],
)
def test_order_numbers_are_held_to_the_first_four_rules_as_a_whole(name: str, value: str, rule: str | None) -> None:
    if rule:
        assert rejection(sale(**{name: value})) == (name, rule)
        if name != "receipt_no":
            field, found = rejection(sale(type="refund", original={name: value}))
            assert (field, found) == (f"original.{name}", rule)
    else:
        decode_record(sale(**{name: value}), BINDINGS)


EVERY_FIELD = sorted(
    {*sale(), "attempt", "mti", "processing_code", "pos_entry_mode", "pos_condition_code", "rrn", "auth_code", "dcc"}
    | {"response_code", "masked_pan", "scheme", "channel", "merchant_order_no", "provider_txn_no", "receipt_no"}
    | {"tip_minor", "cashback_minor", "surcharge_minor", "original", "totals", "balanced", "memo"}
)


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("name", EVERY_FIELD)
def test_a_card_number_is_refused_as_such_in_every_field(name: str, card: str) -> None:
    for value in (card, int(card), {"x": card}, [int(card)], NotAnInteger(f"{card}.0"), NotAnInteger(f"{card}e0")):
        assert rejection({**sale(), name: value}) == (name, "R3")


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        *(
            (name, "R1")
            for name in ("pan", "Card_No", "TRACK2", "cvv", "F35", "5a", "PinBlock", "ｐａｎ", "card-number")
        ),
        (PAN, "R3"),
        (f"x{PAN}", "R3"),
    ],
)
def test_forbidden_names_go_before_unknown_fields_at_any_depth(name: str, rule: str) -> None:
    assert rejection({**sale(), name: 1}) == ("(unknown)", rule)
    assert rejection({**sale(), "extra": [{"deep": {name: None}}]}) == ("(unknown)", rule)
    assert rejection(sale(dcc={"amount_minor": 1, "currency": "156", name: ""})) == ("dcc", rule)


def test_the_lowest_rule_of_the_whole_record_is_named() -> None:
    assert rejection({**sale(memo=f"x {PAN}", receipt_no="6212345678901233"), "cvv": "1"}) == ("(unknown)", "R1")
    assert rejection(sale(memo="12345678901234567890", receipt_no="6212345678901233")) == ("receipt_no", "R4")


def test_card_data_is_named_even_when_something_else_is_wrong_too() -> None:
    assert rejection({**sale(), "stan": "1", "memo": PAN}) == ("memo", "R3")
    assert rejection({"memo": PAN}) == ("memo", "R3")
    assert rejection({**sale(), "masked_pan": "41111111****1111"}) == ("masked_pan", "R7")


def test_a_terminal_that_is_no_binding_is_scanned_and_a_binding_is_not() -> None:
    assert rejection(sale(mid="378282246310005")) == ("mid", "R3")
    known = frozenset({("acquirer-a", "378282246310005", "10000001")})
    decode_record(sale(mid="378282246310005"), known)
    assert rejection(sale(scheme=PAN)) == ("scheme", "R3")


DIGITS = "0123456789"
LEGITIMATE = st.fixed_dictionaries(
    {},
    optional={
        "transaction_id": st.uuids().map(str),
        "stan": st.text(DIGITS, min_size=6, max_size=6),
        "batch_no": st.text(DIGITS, min_size=6, max_size=6),
        "rrn": st.text(DIGITS, min_size=12, max_size=12),
        "auth_code": st.text(DIGITS, min_size=6, max_size=6),
        "amount_minor": st.integers(0, 999_999_999_999),
        "local_at": st.datetimes().map(lambda at: f"{at.isoformat(timespec='microseconds')}+08:00"),
        "masked_pan": st.tuples(st.text(DIGITS, min_size=6, max_size=6), st.text(DIGITS, min_size=4, max_size=4)).map(
            lambda ends: f"{ends[0]}******{ends[1]}"
        ),
        # this century: a date of the years 2221 to 2720 would begin like a Mastercard number, and is held for one
        "merchant_order_no": st.dates(date(2000, 1, 1), date(2099, 12, 31)).map(lambda day: f"{day:%Y%m%d}00012345"),
        "provider_txn_no": st.text(DIGITS, min_size=20, max_size=32),
        "memo": st.sampled_from(["table 12, two guests", "外卖 3 号, 辣", "ring twice; 2nd floor", "café — tip 10 %"]),
        "original": st.fixed_dictionaries({"transaction_id": st.uuids().map(str)}),
    },
)


@given(LEGITIMATE)
def test_legitimate_records_pass(changes: dict[str, Any]) -> None:
    if not changes.get("local_at", "1").startswith("0000"):
        decode_record(sale(**changes), BINDINGS)


def test_an_order_number_made_of_date_and_count_passes() -> None:
    for count in range(20_000):
        decode_record(sale(merchant_order_no=f"20261121{count:08d}"), BINDINGS)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (PAN, "R3"),
        (int(PAN), "R3"),
        (f"req-{PAN}", "R3"),
        (NotAnInteger("4.111111111111111e15"), "R3"),
        ("41111111-1111-1111-1111-111111111111", None),  # a UUID is not looked into
        ("0192f6d0-7c1e-7000-8000-000000000001", None),
        (7, None),
        (None, None),
        (True, None),
        ("req-000017", None),
    ],
)
def test_the_id_of_a_request(value: object, rule: str | None) -> None:
    assert card_data.scan_request_id(value) == rule


def test_a_huge_integer_as_id_does_no_harm() -> None:
    assert card_data.scan_request_id(10**5000) is None


def test_a_value_is_scanned_with_its_name() -> None:
    assert card_data.scan_value("cvv", "1") == "R1"
    assert card_data.scan_value("note", {"x": [PAN]}) == "R3"
    assert card_data.scan_value("note", {"x": [1, None, "y"]}) is None


@pytest.mark.parametrize("card", CARDS)
def test_the_check_digit(card: str) -> None:
    assert luhn(card)
    assert not luhn(card[:-1] + str((int(card[-1]) + 1) % 10))
