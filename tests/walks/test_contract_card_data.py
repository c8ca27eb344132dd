"""Card data by the contract's words against the real agent: in every field, hidden in text, and what must pass.

Every refusal is `CARD_DATA_REJECTED` with its rule, never the value, never a disconnect; the same one connection
serves the whole module. Test values are the published ones that pass Luhn, none of them a real card.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kit.agent_process import AgentProcess
from tests.kit.contract_peer import MID, PROVIDER, TID, Peer, eventually, luhn, record_of, sale, text_of

VISA, MASTERCARD, MASTERCARD_2, AMEX = "4111111111111111", "5555555555554444", "2223003122003222", "378282246310005"
DISCOVER, JCB, DINERS, UNIONPAY = "6011111111111117", "3530111333300000", "30569309025904", "6212345678901232"
BRANDS = [VISA, MASTERCARD, MASTERCARD_2, AMEX, DISCOVER, JCB, DINERS]
NOT_LUHN_VISA, NOT_LUHN_UNIONPAY, UNIONPAY_81 = "4111111111111112", "6212345678901233", "8112345678901234"
UNKNOWN_BRAND = luhn("901234567890123")
IMEI = "490154203237518"
BOUND_MID = "378282246310005"
NAMES = [
    "pan",
    "card_no",
    "cardnumber",
    "track1",
    "track2",
    "track_data",
    "cvv",
    "cvc",
    "cvn",
    "cid",
    "pin",
    "pinblock",
]
NAMES += ["expiry", "f2", "f14", "f35", "f36", "f45", "f52", "f55", "57", "5A", "5F20", "5F24", "9F6B"]
TEXT_FIELDS = ["provider", "mid", "tid", "stan", "batch_no", "currency", "local_at", "state", "type", "transaction_id"]
TEXT_FIELDS += ["mti", "processing_code", "pos_entry_mode", "pos_condition_code", "rrn", "auth_code", "response_code"]
TEXT_FIELDS += ["masked_pan", "scheme", "channel", "merchant_order_no", "provider_txn_no", "receipt_no", "memo"]
ORIGINAL_FIELDS = ["transaction_id", "batch_no", "stan", "date", "rrn", "merchant_order_no", "provider_txn_no"]
ORDER_NUMBERS = ["merchant_order_no", "provider_txn_no", "receipt_no"]


def _hex(text: str) -> str:
    return text.encode().hex()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def _wide(text: str) -> str:
    return "".join(chr(ord(digit) - ord("0") + ord("０")) for digit in text)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    own = {"provider": PROVIDER, "mid": MID, "tid": TID}
    config = {"binding": [own, {**own, "mid": BOUND_MID}]}
    with AgentProcess(tmp_path_factory.mktemp("agent"), config) as running:
        yield running


@pytest.fixture(scope="module")
def peer(agent: AgentProcess) -> Iterator[Peer]:
    with Peer(agent.run / "payment.sock") as connected:
        yield connected


def _rule(peer: Peer, record: dict[str, Any], value: str, field: str | None = None) -> str:
    """The rule that refused the record; neither stored nor repeated."""
    data = peer.record_fails(record, "CARD_DATA_REJECTED")
    assert value not in text_of(data)
    if field is not None:
        assert data["field"] == field
    assert "error" in peer.call("transaction.get", {"transaction_id": record["transaction_id"]})
    return str(data["rule"])


@pytest.mark.parametrize("name", [*NAMES, *(name.upper() for name in NAMES), *(name.lower() for name in NAMES), "Pan"])
def test_r1_names_whatever_their_case_before_the_unknown_field(peer: Peer, name: str) -> None:
    assert _rule(peer, {**sale(), name: "x"}, "x" * 9) == "R1"
    assert _rule(peer, {**sale(), "other": 1, name: None}, "x" * 9) == "R1"
    assert _rule(peer, {**sale(), "dcc": {"amount_minor": 1, "currency": "840", name: 1}}, "x" * 9) == "R1"
    assert _rule(peer, {**record_of("refund"), "original": {name: "x"}}, "x" * 9) == "R1"
    assert _rule(peer, sale(memo=json.dumps({"a": [{name: "x"}]})), "x" * 9, "memo") == "R1"


@pytest.mark.parametrize("field", TEXT_FIELDS)
def test_a_card_number_in_any_field_is_refused_and_never_repeated(agent: AgentProcess, peer: Peer, field: str) -> None:
    for value in (VISA, UNIONPAY, f"%B{VISA}^TEST/CARD^25121010000000000"):
        error = peer.refused("transaction.record", {**sale(), field: value})
        assert error["data"]["code"] in {"BAD_PARAMS", "CARD_DATA_REJECTED"}
        assert error["data"]["field"] == field
        assert value not in text_of(error)
    assert VISA not in agent.log()
    assert UNIONPAY not in agent.log()


@pytest.mark.parametrize("field", ORIGINAL_FIELDS)
def test_a_card_number_in_the_original_is_refused(peer: Peer, field: str) -> None:
    error = peer.refused("transaction.record", {**record_of("refund"), "original": {field: VISA}})
    assert error["data"]["code"] in {"BAD_PARAMS", "CARD_DATA_REJECTED"}
    assert VISA not in text_of(error)


def test_a_card_number_as_a_name_or_where_no_text_belongs(peer: Peer) -> None:
    changes: list[dict[str, Any]] = [
        {VISA: 1},
        {"amount_minor": VISA},
        {"amount_minor": int(VISA)},
        {"memo": int(VISA)},
    ]
    for change in (*changes, {"original": {VISA: 1}}, {"dcc": {"amount_minor": int(VISA), "currency": "840"}}):
        error = peer.refused("transaction.record", {**sale(), **change})
        assert error["data"]["code"] in {"BAD_PARAMS", "CARD_DATA_REJECTED"}
        assert VISA not in text_of(error)


FREE_TEXT: list[tuple[str, set[str]]] = [
    *((pan, {"R3"}) for pan in BRANDS),
    *((f"paid with {pan}.", {"R3"}) for pan in BRANDS),
    (UNIONPAY, {"R3", "R4"}),  # Luhn true: Maestro's prefixes hold 62 too
    (NOT_LUHN_UNIONPAY, {"R4"}),
    (UNIONPAY_81, {"R4"}),
    (UNKNOWN_BRAND, {"R5"}),
    (IMEI, {"R5"}),
    ("1" * 7 + "2" * 14, {"R6"}),
    ("order 12345678901234567890 done", {"R6"}),
    ("62123456****5678", {"R7"}),
    ("6212XXXXXXXX5678", {"R7"}),
    (f"%B{VISA}^TEST/CARD^25121010000000000", {"R2"}),
    (f";{VISA}=25121010000000000?", {"R2"}),
    (f"{NOT_LUHN_VISA}D2512101", {"R2"}),
    ("%B123456789012^X", {"R2"}),
    *((separator.join((VISA[:4], VISA[4:8], VISA[8:12], VISA[12:])), {"R3"}) for separator in " -."),
    (" ".join(VISA), {"R3"}),
    ("3782 822463 10005", {"R3"}),
    (_wide(VISA), {"R3"}),
    (_wide(VISA[:8]) + "-" + VISA[8:], {"R3"}),
    *((hidden.join(VISA), {"R3"}) for hidden in ("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff")),
    *((odd.join((VISA[:4], VISA[4:12], VISA[12:])), {"R3"}) for odd in ("\u00a0", "\u2011", "\u2013", "\u3000", "\t")),
    *(("".join(chr(zero + int(digit)) for digit in VISA), {"R3"}) for zero in (0x660, 0x966, 0x1D7CE)),
    *((f"x{pan}y", {"R3"}) for pan in (VISA, AMEX)),
    *((form(VISA), {"R3"}) for form in (_hex, _base64, _url)),
    (_hex(VISA).upper(), {"R3"}),
    (_base64(VISA).rstrip("="), {"R3"}),
    (_base64("4222222222222").rstrip("="), {"R3"}),  # 18 characters, the shortest run that is decoded
    (f"ref {_base64(VISA)} end", {"R3"}),
    (f"ref {_base64(VISA).rstrip('=')}, end", {"R3"}),
    (f"ref:{_hex(VISA)};", {"R3"}),
    (_base64(f"???>>>~~~{VISA}"), {"R3"}),
    (_url(f"???>>>~~~{VISA}"), {"R3"}),
    (_url(f"???>>>~~~{VISA}").rstrip("="), {"R3"}),
    (_base64(_wide(VISA)), {"R3"}),
    (_hex(NOT_LUHN_UNIONPAY), {"R4"}),
    (_hex(UNKNOWN_BRAND), {"R5"}),  # the decoded form before the outer one, which is a run of 32 digits
    (_base64(f"{VISA}=25121010000000000"), {"R2"}),
    (json.dumps({"a": VISA}), {"R3"}),
    (json.dumps({"a": int(VISA)}), {"R3"}),
    (json.dumps([{"a": [VISA]}]), {"R3"}),
    ('{"a": "\\u0034' + VISA[1:] + '"}', {"R3"}),
    (json.dumps({"CVV": "1"}), {"R1"}),
    # the whole text is decoded however short it is
    *((form('{"cvv":1}'), {"R1"}) for form in (_base64, _url, _hex)),
    (_base64('{"pin":"12"}').rstrip("="), {"R1"}),
    (" " + _base64('{"f52":"x"}') + " ", {"R1"}),
    (_base64('{"track2":1}x'), {"R1"}),
    (f"{VISA} and %B{VISA}^", {"R2"}),
    (f"1234567890123456789012 and {VISA}", {"R3"}),
    (f"62123456****5678 and {UNKNOWN_BRAND}", {"R5"}),
]


@pytest.mark.parametrize(("text", "rules"), FREE_TEXT, ids=range(len(FREE_TEXT)))
def test_card_data_hidden_in_free_text(peer: Peer, text: str, rules: set[str]) -> None:
    assert _rule(peer, sale(memo=text), text, "memo") in rules


HARMLESS = [
    "",
    "ticket 4711",
    "2026-11-21 10:22:33, phone 13800138000, 3.50 + 128.00",
    "621234******5678",
    "桌号 12，两位",
    NOT_LUHN_VISA,
    "9999999999999999999",  # 19 digits, no Luhn, no brand
    "deadbeef" * 8,
    "rrn 632511000731",
    "c3f1d2e4-9ab7-4c1d-8e5f-a1b2c3d4e5f6",
    base64.b64encode(b"nothing to see here, really").decode(),
    "the application says so and nothing else happened",
    '{"table": 12, "waiter": "li"}',
    "spinning discount, pinned; panorama",
    "*** thank you ***",
    *("table 12", "table12a", "abcdefgh", "deadbeef", "12345678", "AAAAAAAAAAAAAAAA", "counter-7-window", "dGFibGU="),
]


@pytest.mark.parametrize("text", HARMLESS, ids=range(len(HARMLESS)))
def test_harmless_text_passes(peer: Peer, text: str) -> None:
    assert peer.record(sale(memo=text))["duplicate"] is False


ORDER_REFUSED: list[tuple[str, set[str]]] = [
    *((pan, {"R3"}) for pan in BRANDS),
    (UNIONPAY, {"R3", "R4"}),
    (NOT_LUHN_UNIONPAY, {"R4"}),
    (f"{VISA}=2512101", {"R2"}),
    ("4111-1111-1111-1111", {"R3"}),
    ("4111 1111 1111 1111", {"R3"}),
    ("4111.1111.1111.1111", {"R3"}),
    (_wide(VISA), {"R3"}),
]
ORDER_TAKEN = [
    "4200001234202611211234567890",  # 28 digits: R6 is not for order numbers
    UNKNOWN_BRAND,  # nor R5
    IMEI,
    NOT_LUHN_VISA,
    f"A{VISA}B",  # on the whole value only
    _hex(VISA),  # without decoding
    _base64(VISA).rstrip("="),
    "20261121-102233-000731",
    "2026112122001412345678901234",
    "a1b2c3d4e5f60718293a4b5c6d7e8f90",
]


@pytest.mark.parametrize("field", ORDER_NUMBERS)
@pytest.mark.parametrize(("text", "rules"), ORDER_REFUSED, ids=range(len(ORDER_REFUSED)))
def test_order_numbers_are_held_to_the_first_four_rules(peer: Peer, field: str, text: str, rules: set[str]) -> None:
    assert _rule(peer, sale(**{field: text}), text, field) in rules


@pytest.mark.parametrize("field", ORDER_NUMBERS)
@pytest.mark.parametrize("text", ORDER_TAKEN, ids=range(len(ORDER_TAKEN)))
def test_order_numbers_that_merely_look_odd_are_taken(peer: Peer, field: str, text: str) -> None:
    assert peer.record(sale(**{field: text}))["duplicate"] is False


def test_a_merchant_number_is_scanned_unless_it_is_a_binding(peer: Peer) -> None:
    assert peer.record(sale(mid=BOUND_MID))["duplicate"] is False
    assert _rule(peer, sale(mid="371449635398431"), "371449635398431", "mid") == "R3"
    assert _rule(peer, sale(mid=luhn("90123456789012")), "x" * 9, "mid") == "R5"
    assert peer.record(sale(mid="104110058120099"))["duplicate"] is False


@pytest.mark.parametrize("mask", ["62123456****5678", "6212********5678", "621234*****5678901", f"{VISA}"])
def test_a_mask_other_than_six_and_four(peer: Peer, mask: str) -> None:
    error = peer.refused("transaction.record", sale(masked_pan=mask))
    assert error["data"]["code"] == "CARD_DATA_REJECTED"
    assert error["data"]["rule"] in {"R3", "R7"}
    assert mask not in text_of(error)


def test_of_several_fields_the_lowest_rule_is_named(peer: Peer) -> None:
    assert _rule(peer, sale(memo=IMEI, receipt_no=VISA), VISA, "receipt_no") == "R3"
    assert _rule(peer, sale(memo=f"%B{VISA}^X", receipt_no=VISA), VISA, "memo") == "R2"
    assert _rule(peer, {**sale(memo=VISA), "cvv": "1"}, VISA) == "R1"
    assert _rule(peer, {**sale(), "other": VISA}, VISA, "(unknown)") == "R3"
    assert _rule(peer, sale(stan=None, memo=VISA), VISA, "memo") == "R3"


def test_one_of_many_is_refused_and_the_others_stand(peer: Peer) -> None:
    records = [sale(), sale(memo=VISA), {**sale(), "pan": "x"}, sale()]
    results = peer.ask("transaction.record_many", records=records)["results"]
    assert [set(result) for result in results] == [
        {"sequence", "duplicate"},
        {"error"},
        {"error"},
        {"sequence", "duplicate"},
    ]
    assert [result["error"]["data"]["rule"] for result in results[1:3]] == ["R3", "R1"]
    assert results[3]["sequence"] == results[0]["sequence"] + 1
    assert VISA not in text_of(results)


def test_card_data_outside_a_record_is_not_repeated_either(agent: AgentProcess, peer: Peer) -> None:
    answer = peer.frame(json.dumps({"jsonrpc": "2.0", "id": VISA, "method": "transaction.get", "params": {}}).encode())
    assert answer["id"] is None
    for request in (
        {"method": VISA},
        {"method": "transaction.get", "params": {VISA: 1}},
        {"method": "transaction.get", "params": {"transaction_id": VISA}},
        {"method": "transaction.get", "params": {}, VISA: 1},
        {"method": "transaction.record_many", "params": {"records": [VISA]}},
        {"method": "transaction.record", "params": [VISA]},
    ):
        answer = peer.frame(json.dumps({"jsonrpc": "2.0", "id": 1, **request}).encode())
        assert VISA not in text_of(answer)
    with Peer(agent.run / "control.sock") as control:
        order = {"command_id": "order-with-card-1", "name": "ping", "arguments": {VISA: VISA}, "reason": "test"}
        assert VISA not in text_of(control.call("command.run", order))
    assert VISA not in agent.log()


def test_each_refusal_is_counted_as_a_fault(agent: AgentProcess) -> None:
    with Peer(agent.run / "control.sock") as control:
        eventually(lambda: "SEC-PAN-001" in text_of(control.ask("health.get")), "SEC-PAN-001")
