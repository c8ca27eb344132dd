"""Transaction records by the contract's words against the real agent: forms, states, duplicates, what reading computes.

One agent for the module; every record has an id and STAN of its own, tests of settling a batch of their own.
Card data is in ``test_contract_card_data.py``, lists and the chain in ``test_contract_reading.py``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kit.agent_process import AgentProcess
from tests.kit.contract_peer import BAD_PARAMS, MID, Peer, eventually, fresh_stan, record_of, sale, text_of

ALWAYS = ["transaction_id", "state", "type", "provider", "mid", "tid", "local_at"]
CARD_TYPES = ["sale", "pre_auth", "completion", "offline_sale"]
FOLLOWING_TYPES = ["sale_void", "pre_auth_void", "completion_void", "refund", "tip", "adjustment"]
BY_TYPE: dict[str, list[str]] = {
    **{kind: ["stan", "batch_no", "currency", "amount_minor"] for kind in CARD_TYPES},
    "balance_inquiry": ["stan", "batch_no", "currency"],
    **{kind: ["stan", "batch_no", "currency", "amount_minor", "original"] for kind in FOLLOWING_TYPES},
    "qr_sale": ["amount_minor", "currency", "merchant_order_no"],
    "qr_refund": ["amount_minor", "currency", "merchant_order_no", "original"],
    "sign_in": [],
    "sign_out": [],
    "settlement": ["batch_no", "totals", "balanced"],
}
FOLLOWS = {
    "created": "sent approved cancelled",
    "sent": "approved declined unknown cancelled reversing",
    "unknown": "approved declined reversing cancelled",
    "approved": "voided refunded settled reversing",
    "reversing": "reversed reversal_failed approved",
    "reversal_failed": "reversing reversed",
    "voided": "settled",
    "refunded": "settled",
    "settled": "refunded",
    "declined": "",
    "cancelled": "",
    "reversed": "",
}


def _reach(state: str) -> set[str]:
    """All states after ``state``, skipped ones in between included."""
    reached: set[str] = set()
    waiting = FOLLOWS[state].split()
    while waiting:
        following = waiting.pop()
        if following not in reached:
            reached.add(following)
            waiting += FOLLOWS[following].split()
    return reached


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("agent")) as running:
        yield running


@pytest.fixture(scope="module")
def peer(agent: AgentProcess) -> Iterator[Peer]:
    with Peer(agent.run / "payment.sock") as connected:
        yield connected


@pytest.fixture(scope="module")
def support(agent: AgentProcess) -> Iterator[Peer]:
    with Peer(agent.run / "control.sock") as connected:
        yield connected


@pytest.mark.parametrize("kind", BY_TYPE)
def test_every_type_is_taken_with_its_required_fields_and_not_with_one_less(peer: Peer, kind: str) -> None:
    whole = record_of(kind)
    assert set(whole) == {*ALWAYS, *BY_TYPE[kind]}
    result = peer.record(whole)
    assert result["duplicate"] is False
    assert result["sequence"] >= 1
    for field in whole:
        short = {**record_of(kind), field: None}
        data = peer.record_fails(
            {name: value for name, value in short.items() if name != field}, "BAD_PARAMS", BAD_PARAMS
        )
        assert data["field"] == field


def test_all_optional_fields_are_taken_and_given_back_as_they_came(peer: Peer) -> None:
    original = {"transaction_id": str(uuid.uuid4()), "batch_no": "000001", "stan": "000009", "date": "2026-11-20"}
    optional = {
        **{
            "attempt": 1,
            "mti": "0220",
            "processing_code": "200000",
            "pos_entry_mode": "051",
            "pos_condition_code": "00",
        },
        **{"rrn": "632511000731", "auth_code": "A1B2C3", "response_code": "00", "masked_pan": "621234******5678"},
        **{"scheme": "unionpay", "channel": "wechat", "merchant_order_no": "M-20261121-1", "provider_txn_no": "P1"},
        **{"receipt_no": "R-1", "tip_minor": 100, "cashback_minor": 0, "surcharge_minor": 999999999999},
        "dcc": {"amount_minor": 1800, "currency": "840"},
        "original": {**original, "rrn": "632511000730", "merchant_order_no": "M-1", "provider_txn_no": "P0"},
        "memo": 'ｗide 宽 \u00e9 e\u0301 " \\ / \u007f \t 🙂',
    }
    record = sale(type="refund", **optional)
    result = peer.record(record)
    [entry] = peer.get(record["transaction_id"])["history"]
    assert entry["seq"] == result["sequence"]
    assert entry["record"] == record


GOOD: dict[str, list[Any]] = {
    "amount_minor": [0, 1, 999999999999],
    "local_at": ["2026-11-21T10:00:00Z", "2026-11-21T10:00:00.123456-03:30", "2024-02-29T00:00:00+00:00"],
    "mid": ["A1"],
    "tid": ["T1"],
    **{name: ["aA0._-" + "x" * 26] for name in ("provider", "scheme", "channel")},
    "memo": ["", "宽" * 256],
    "transaction_id": ["0192f6d0-7c1e-7000-8000-00000000abcd"],
}
NOT_SIX_DIGITS: list[Any] = [1, "00001", "0000001", "00000a", "００００01", " 00001"]
NO_UUIDS: list[Any] = ["", "x", 1, "0192F6D0-7C1E-7000-8000-00000000ABCD", "0192f6d07c1e70008000000000000001"]
NO_TIMES: list[Any] = ["2026-11-21T10:00:00", "2026-11-21", "2026-02-30T10:00:00Z", "2026-11-21T25:00:00Z", "", 1]
BAD: dict[str, list[Any]] = {
    "amount_minor": [-1, 1000000000000, 10**400, "100", True, [1], {}],
    "currency": [156, "15", "1560", "CNY", "１５６", ""],
    "stan": NOT_SIX_DIGITS,
    "batch_no": NOT_SIX_DIGITS,
    "local_at": NO_TIMES,
    "mid": ["1" * 16, "", 5],
    "tid": ["1" * 9, "", 5],
    **{name: ["x" * 33, "a b", "é", "", 1] for name in ("provider", "scheme", "channel")},
    "state": ["Approved", "", "done", 1],
    "type": ["Sale", "", "other", 1],
    "transaction_id": [*NO_UUIDS, "{0192f6d0-7c1e-7000-8000-000000000001}"],
    "attempt": ["1", True, -1],
    "memo": ["x" * 257, 1, ["x"], {"a": "b"}],
    "dcc": [{}, {"amount_minor": 1}, {"amount_minor": 1, "currency": "1"}, "x", []],
    "original": ["x", [], {"stan": "1"}, {"transaction_id": "x"}],
    "mti": ["200", "02000", "02x0", 200],
    "masked_pan": ["unknown", 1],
}


def _each(table: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(field, value) for field, values in table.items() for value in values]


@pytest.mark.parametrize(("field", "value"), _each(GOOD))
def test_values_at_the_edge_of_their_form_are_taken(peer: Peer, field: str, value: Any) -> None:
    assert peer.record(sale(**{field: value}))["duplicate"] is False


@pytest.mark.parametrize(("field", "value"), _each(BAD))
def test_values_beyond_their_form_are_refused_by_field_and_not_repeated(peer: Peer, field: str, value: Any) -> None:
    record = {**sale(), field: value}
    error = peer.refused("transaction.record", record)
    assert (error["code"], error["data"]["code"]) == (BAD_PARAMS, "BAD_PARAMS"), error
    assert error["data"]["field"].split(".")[0].split("[")[0] == field
    if isinstance(value, str) and len(value) > 8:
        assert value not in text_of(error)


@pytest.mark.parametrize("field", ["dcc", "original"])
def test_an_unknown_field_is_never_named_wherever_it_is(peer: Peer, field: str) -> None:
    known: dict[str, Any] = {"amount_minor": 1, "currency": "840"} if field == "dcc" else {"stan": "000001"}
    record = {**sale(), field: {**known, "other_name": 1}}
    assert peer.record_fails(record, "BAD_PARAMS", BAD_PARAMS)["field"] == "(unknown)"


@pytest.mark.parametrize("number", ["128.0", "1e3", "12.5", "1E2", "-0.0", "9" * 400])
def test_numbers_with_fraction_or_exponent_or_beyond_any_range_are_refused(peer: Peer, number: str) -> None:
    for field in ("amount_minor", "attempt"):
        request = f'{{"jsonrpc":"2.0","id":7,"method":"transaction.record","params":{_text(sale(), field, number)}}}'
        answer = peer.frame(request.encode())
        assert answer["error"]["code"] == BAD_PARAMS, answer
        assert (answer["id"], answer["error"]["data"]["field"]) == (7, field)


def _text(record: dict[str, Any], field: str, number: str) -> str:
    return text_of({**record, field: "@"}).replace('"@"', number)


def test_settlement_fields_belong_to_a_settlement(peer: Peer) -> None:
    total = {"currency": "156", "debit_count": 1, "debit_minor": 1, "credit_count": 0, "credit_minor": 0}
    for field, value in (("totals", [total]), ("balanced", True)):
        assert peer.record_fails(sale(**{field: value}), "BAD_PARAMS", BAD_PARAMS)["field"] == field
    for missing in total:
        short = {name: value for name, value in total.items() if name != missing}
        peer.record_fails(record_of("settlement", totals=[short]), "BAD_PARAMS", BAD_PARAMS)
    peer.record_fails(record_of("settlement", balanced="yes"), "BAD_PARAMS", BAD_PARAMS)
    peer.record_fails(record_of("settlement", totals=[{**total, "more": 1}]), "BAD_PARAMS", BAD_PARAMS)


@pytest.mark.parametrize("before", FOLLOWS)
def test_every_pair_of_states(peer: Peer, before: str) -> None:
    for after in FOLLOWS:
        if after == before:
            continue
        first = sale(state=before)
        peer.record(first)
        if after in _reach(before):
            assert peer.record({**first, "state": after})["duplicate"] is False, after
            assert peer.get(first["transaction_id"])["current"]["state"] == after
            continue
        peer.record_fails({**first, "state": after}, "INVALID_TRANSITION")
        view = peer.get(first["transaction_id"])
        assert [entry["record"]["state"] for entry in view["history"]] == [before], after


@pytest.mark.parametrize("state", ["reversing", "reversal_failed"])
def test_reversing_states_repeat_with_another_attempt(peer: Peer, state: str) -> None:
    first = sale(state=state)
    sequence = peer.record(first)["sequence"]
    assert peer.record({**first, "attempt": 2})["sequence"] > sequence
    assert peer.record({**first, "attempt": 3, "response_code": "91"})["duplicate"] is False
    for same in (first, {**first, "attempt": 1}):  # a missing attempt is 1
        assert peer.record(same) == {"sequence": sequence, "duplicate": True}
    assert peer.record_fails({**first, "attempt": 2, "memo": "other"}, "TXN_CONFLICT")["sequence"] > sequence


@pytest.mark.parametrize("state", sorted(set(FOLLOWS) - {"reversing", "reversal_failed"}))
def test_in_other_states_attempt_is_content(peer: Peer, state: str) -> None:
    first = sale(state=state)
    peer.record(first)
    peer.record_fails({**first, "attempt": 2}, "TXN_CONFLICT")


def test_a_state_left_through_reversing_is_entered_again_with_another_attempt_only(peer: Peer) -> None:
    record = sale()
    first = peer.record(record)["sequence"]
    peer.record({**record, "state": "reversing"})
    assert peer.record(record) == {"sequence": first, "duplicate": True}
    peer.record_fails({**record, "memo": "no attempt"}, "TXN_CONFLICT")
    assert peer.get(record["transaction_id"])["current"]["state"] == "reversing"
    again = peer.record({**record, "attempt": 2})
    assert again["duplicate"] is False
    assert peer.get(record["transaction_id"])["current"]["state"] == "approved"
    assert peer.record({**record, "attempt": 2}) == {**again, "duplicate": True}


def test_settled_left_through_refunded_is_entered_again(peer: Peer) -> None:
    record = sale(state="settled")
    peer.record(record)
    peer.record({**record, "state": "refunded"})
    assert peer.record({**record, "attempt": 2})["duplicate"] is False
    assert peer.get(record["transaction_id"])["current"]["state"] == "settled"


def test_the_same_entry_again_answers_its_first_sequence(peer: Peer) -> None:
    record = sale(state="sent", memo="first")
    first = peer.record(record)
    approved = {**record, "state": "approved"}
    second = peer.record(approved)
    for _ in range(3):
        assert peer.record(record) == {"sequence": first["sequence"], "duplicate": True}
        assert peer.record(dict(reversed(approved.items()))) == {"sequence": second["sequence"], "duplicate": True}
    assert len(peer.get(record["transaction_id"])["history"]) == 2


def test_a_conflict_is_stored_once_marked_and_alarmed(peer: Peer, support: Peer) -> None:
    record = sale(amount_minor=100)
    first = peer.record(record)["sequence"]
    other = {**record, "amount_minor": 200}
    answers = [peer.record_fails(other, "TXN_CONFLICT") for _ in range(3)]
    assert answers[0]["sequence"] > first
    assert answers == [answers[0]] * 3
    view = peer.get(record["transaction_id"])
    assert [entry["record"] for entry in view["history"]] == [record, other]
    assert not view["history"][0].get("mark")
    assert view["history"][1]["mark"]
    assert (view["current"]["state"], view["current"]["amount_minor"]) == ("approved", 100)
    assert peer.record_fails({**record, "amount_minor": 300}, "TXN_CONFLICT")["sequence"] > answers[0]["sequence"]
    eventually(lambda: "TXN-CON-001" in text_of(support.ask("health.get")), "the alarm")


def test_the_conflict_rule_goes_before_the_transition_rule(peer: Peer) -> None:
    record = sale(state="sent")
    peer.record(record)
    peer.record({**record, "state": "declined"})
    peer.record_fails({**record, "memo": "later"}, "TXN_CONFLICT")
    assert peer.get(record["transaction_id"])["current"]["state"] == "declined"
    peer.record({**record, "transaction_id": str(uuid.uuid4()), "stan": fresh_stan()})


NATURAL: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {}, True),
    ({}, {"state": "declined", "amount_minor": 5, "memo": "x"}, True),
    ({"mti": "0200"}, {}, True),  # without mti the class follows from the type
    ({"mti": "0200"}, {"mti": "0210"}, True),
    ({"mti": "0200"}, {"mti": "0400"}, False),
    ({}, {"type": "pre_auth"}, False),  # class 1 is not class 2
    ({"type": "pre_auth"}, {"type": "pre_auth", "mti": "0100"}, True),
    ({}, {"type": "refund", "original": {"stan": "000001"}}, True),  # 0220 is of class 2 too
    ({}, {"batch_no": "000002"}, False),
    ({}, {"mid": "M2"}, False),
    ({}, {"tid": "T2"}, False),
    ({}, {"provider": "other"}, False),
    ({}, {"local_at": "2026-11-21T23:59:59+09:00"}, True),
    ({}, {"local_at": "2026-11-20T23:59:59-11:00"}, False),  # the local date, not that of UTC
]


@pytest.mark.parametrize(("one", "two", "same"), NATURAL)
def test_the_same_natural_key_under_another_id(
    peer: Peer, one: dict[str, Any], two: dict[str, Any], same: bool
) -> None:
    first = sale(**one)
    second = {**first, "transaction_id": str(uuid.uuid4()), **two}
    peer.record(first)
    assert peer.record(second)["duplicate"] is False
    [entry] = peer.get(second["transaction_id"])["history"]
    assert (entry.get("mark") or {}).get("duplicate_of") == (first["transaction_id"] if same else None)
    assert "duplicate_of" not in entry["record"]


def _refund(record: dict[str, Any], amount: int, **more: Any) -> dict[str, Any]:
    return sale(type="refund", amount_minor=amount, original={"transaction_id": record["transaction_id"]}, **more)


def test_refunds_are_computed_on_reading_and_write_nothing(peer: Peer) -> None:
    record = sale(amount_minor=1000)
    transaction_id = record["transaction_id"]
    sequence = peer.record(record)["sequence"]
    assert peer.get(transaction_id)["current"]["refunded_minor"] == 0
    peer.record(_refund(record, 300))
    peer.record(_refund(record, 300, state="declined"))
    view = peer.get(transaction_id)
    assert view["current"]["refunded_minor"] == 300
    last = peer.record(_refund(record, 700))["sequence"]
    view = peer.get(transaction_id)
    assert (view["current"]["refunded_minor"], view["current"]["state"]) == (1000, "refunded")
    assert [entry["seq"] for entry in view["history"]] == [sequence]
    assert last == sequence + 3


def _settlement(batch: str, **changes: Any) -> dict[str, Any]:
    return record_of("settlement", batch_no=batch, **changes)


def test_a_balanced_settlement_settles_what_came_before_it_in_its_own_batch(peer: Peer) -> None:
    before = {state: sale(batch_no="000100", state=state) for state in FOLLOWS}
    elsewhere = [
        sale(batch_no="000101"),
        *(sale(batch_no="000100", **{key: "X1"}) for key in ("mid", "tid", "provider")),
    ]
    for record in (*before.values(), *elsewhere):
        peer.record(record)
    for not_settling in ({"balanced": False}, {"state": "declined"}, {"state": "sent"}, {"mid": "X9"}):
        peer.record(_settlement("000100", **not_settling))
        assert peer.get(before["approved"]["transaction_id"])["current"]["state"] == "approved"
    last = peer.record(_settlement("000100"))["sequence"]
    late = sale(batch_no="000100")
    assert peer.record(late) == {"sequence": last + 1, "duplicate": False}
    states = {state: peer.get(record["transaction_id"]) for state, record in before.items()}
    for state, view in states.items():
        expected = "settled" if state in {"approved", "voided", "refunded", "settled"} else state
        assert view["current"]["state"] == expected, state
        assert len(view["history"]) == 1
    for record in (*elsewhere, late):
        assert peer.get(record["transaction_id"])["current"]["state"] == "approved"
    # late evidence for a settled batch is taken, and a refund still shows
    settled = before["approved"]
    peer.record(_refund(settled, settled["amount_minor"], batch_no="000102"))
    assert peer.get(settled["transaction_id"])["current"]["state"] == "refunded"


def test_no_binding_is_stored_and_raises_a_fault(peer: Peer, support: Peer) -> None:
    for changes in ({"mid": "M9"}, {"tid": "T9"}, {"provider": "nobody"}):
        assert peer.record(sale(**changes))["duplicate"] is False
    eventually(lambda: "SEC-BND-001" in text_of(support.ask("health.get")), "the fault")
    assert sale()["mid"] == MID


def test_copies_tell_what_is_where_and_an_unknown_transaction_is_an_error_of_the_agent(peer: Peer) -> None:
    record = sale()
    peer.record(record)
    copies = peer.get(record["transaction_id"])["copies"]
    assert set(copies) == {"local", "backup", "collector"}
    assert (bool(copies["local"]), bool(copies["backup"]), bool(copies["collector"])) == (True, False, False)
    unknown = peer.refused("transaction.get", {"transaction_id": str(uuid.uuid4())})
    assert unknown["code"] == -32000
    assert unknown["data"]["code"]
    for wrong in ({}, {"transaction_id": "x"}, {"transaction_id": 1}, {"transaction_id": str(uuid.uuid4()), "more": 1}):
        assert peer.refused("transaction.get", wrong)["data"]["code"] == "BAD_PARAMS"
