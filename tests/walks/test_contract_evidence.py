"""What comes late, twice, crosswise or from two sides, by the contract's words against the real agent.

The plain cases are in ``test_contract_records.py``; here is what a payment application does when things went wrong.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kit.agent_process import AgentProcess
from tests.kit.contract_peer import Peer, record_of, request_of, sale


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("agent")) as running:
        yield running


@pytest.fixture
def peer(agent: AgentProcess) -> Iterator[Peer]:
    with Peer(agent.run / "payment.sock") as connected:
        yield connected


@pytest.fixture
def support(agent: AgentProcess) -> Iterator[Peer]:
    with Peer(agent.run / "control.sock") as connected:
        yield connected


def _refund(record: dict[str, Any], amount: int, kind: str = "refund", **more: Any) -> dict[str, Any]:
    original = {"transaction_id": record["transaction_id"]}
    return record_of(kind, amount_minor=amount, original=original, **more)


def _current(peer: Peer, record: dict[str, Any]) -> dict[str, Any]:
    current: dict[str, Any] = peer.get(record["transaction_id"])["current"]
    return current


def _shown(peer: Peer, record: dict[str, Any]) -> tuple[str, int]:
    current = _current(peer, record)
    return current["state"], current["refunded_minor"]


def test_current_is_the_first_content_of_the_latest_state(peer: Peer) -> None:
    record = sale(state="sent", memo="asked")
    peer.record(record)
    approved = {**record, "state": "approved", "memo": "answered", "rrn": "632511000731"}
    peer.record(approved)
    peer.record_fails({**approved, "memo": "changed"}, "TXN_CONFLICT")
    peer.record_fails({**record, "memo": "changed"}, "TXN_CONFLICT")  # of a state long left
    assert _current(peer, record) == {**_current(peer, record), **approved, "refunded_minor": 0}
    assert len(peer.get(record["transaction_id"])["history"]) == 4


def test_the_states_of_one_transaction_are_no_duplicates_of_each_other(peer: Peer) -> None:
    record = sale(state="created")
    for state in ("created", "sent", "unknown", "reversing", "reversed"):
        peer.record({**record, "state": state})
    history = peer.get(record["transaction_id"])["history"]
    assert len(history) == 5
    assert not any(entry.get("mark") for entry in history)


def test_every_later_one_of_a_natural_key_names_the_first(peer: Peer) -> None:
    first = sale()
    others = [{**first, "transaction_id": str(uuid.uuid4())} for _ in range(3)]
    for record in (first, *others):
        peer.record(record)
    for record in others:
        [entry] = peer.get(record["transaction_id"])["history"]
        assert entry["mark"]["duplicate_of"] == first["transaction_id"]


def test_a_refund_that_came_before_its_original_counts(peer: Peer) -> None:
    record = sale(amount_minor=500)
    peer.record(_refund(record, 200))
    peer.record(record)
    assert _shown(peer, record) == ("refunded", 200)


@pytest.mark.parametrize("ending", [["reversing", "reversed"], ["voided"]])
def test_a_refund_that_was_undone_does_not_count(peer: Peer, ending: list[str]) -> None:
    record = sale(amount_minor=500)
    refund = _refund(record, 500)
    peer.record(record)
    peer.record(refund)
    assert _shown(peer, record) == ("refunded", 500)
    for state in ending:
        peer.record({**refund, "state": state})
    assert _shown(peer, record) == ("approved", 0)


def test_what_conflicts_does_not_count_as_a_refund(peer: Peer) -> None:
    record = sale(amount_minor=500)
    refund = _refund(record, 100)
    peer.record(record)
    peer.record(refund)
    peer.record_fails({**refund, "amount_minor": 400}, "TXN_CONFLICT")
    assert _shown(peer, record) == ("refunded", 100)


def test_a_refund_of_a_code_payment_counts_too(peer: Peer) -> None:
    record = record_of("qr_sale", amount_minor=500)
    peer.record(record)
    peer.record(_refund(record, 500, "qr_refund"))
    assert _shown(peer, record) == ("refunded", 500)


def test_a_refund_of_something_unknown_is_stored(peer: Peer) -> None:
    assert peer.record(_refund(sale(), 5))["duplicate"] is False


def test_a_settled_sale_is_refunded_in_parts(peer: Peer) -> None:
    record = sale(amount_minor=500, batch_no="000300")
    peer.record(record)
    peer.record(record_of("settlement", batch_no="000300"))
    peer.record(_refund(record, 100, batch_no="000301"))
    assert _shown(peer, record) == ("refunded", 100)
    peer.record(_refund(record, 400, batch_no="000301"))
    assert _shown(peer, record) == ("refunded", 500)


def test_late_evidence_of_a_settled_batch_is_taken(peer: Peer) -> None:
    records = {state: sale(state=state, batch_no="000310") for state in ("sent", "unknown", "approved")}
    for record in records.values():
        peer.record(record)
    peer.record(record_of("settlement", batch_no="000310"))
    for state, after in (("sent", "declined"), ("unknown", "approved"), ("approved", "voided")):
        assert peer.record({**records[state], "state": after})["duplicate"] is False
    assert peer.record({**records["approved"], "state": "settled"})["duplicate"] is False
    assert _current(peer, records["sent"])["state"] == "declined"
    assert _current(peer, records["approved"])["state"] == "settled"


@pytest.mark.parametrize("way", ["a conflict", "reversed", "unbalanced first, balanced as a conflict"])
def test_a_settlement_that_does_not_stand_settles_nothing(peer: Peer, way: str) -> None:
    batch = {"a conflict": "000320", "reversed": "000321"}.get(way, "000322")
    record = sale(batch_no=batch)
    peer.record(record)
    if way == "reversed":
        settlement = record_of("settlement", batch_no=batch)
        for state in ("approved", "reversing", "reversed"):
            peer.record({**settlement, "state": state})
    elif way == "a conflict":
        settlement = record_of("settlement", batch_no="000329")
        peer.record(settlement)
        peer.record_fails({**settlement, "batch_no": batch}, "TXN_CONFLICT")
    else:
        settlement = record_of("settlement", batch_no=batch, balanced=False)
        peer.record(settlement)
        peer.record_fails({**settlement, "balanced": True}, "TXN_CONFLICT")
    assert _current(peer, record)["state"] == "approved"


def test_a_settlement_repeated_after_late_records_settles_them_not(peer: Peer) -> None:
    settlement = record_of("settlement", batch_no="000330")
    peer.record(settlement)
    late = sale(batch_no="000330")
    peer.record(late)
    assert peer.record(settlement)["duplicate"] is True
    assert _current(peer, late)["state"] == "approved"
    peer.record({**settlement, "transaction_id": str(uuid.uuid4())})
    assert _current(peer, late)["state"] == "settled"


def test_a_settlement_approved_again_settles(peer: Peer) -> None:
    record, settlement = sale(batch_no="000340"), record_of("settlement", batch_no="000340")
    peer.record(record)
    for state, attempt in (("approved", 1), ("reversing", 1), ("approved", 2), ("settled", 1)):
        peer.record({**settlement, "state": state, "attempt": attempt})
        assert _current(peer, record)["state"] == ("approved" if state == "reversing" else "settled")


@pytest.mark.parametrize("field", ["mid", "tid"])
@pytest.mark.parametrize("text", ["A/B", "A B", "A'B", "A%B", "号", "A\nB"])
def test_numbers_of_the_acquirer_never_break_the_reading(peer: Peer, support: Peer, field: str, text: str) -> None:
    answer = peer.call("transaction.record", sale(**{field: text}))
    assert "result" in answer or answer["error"]["data"]["code"] == "BAD_PARAMS"
    listed = support.everything("transaction.summary")
    assert ("result" in answer) is (text in {item[field] for item in listed})


def test_two_peers_with_one_transaction_agree_on_what_was_first(agent: AgentProcess) -> None:
    """The same content from two sides is stored once; other content once more and marked."""
    same = [sale() for _ in range(50)]
    other = [sale() for _ in range(50)]
    answers: dict[str, list[dict[str, Any]]] = {"a": [], "b": []}

    def side(name: str) -> None:
        records = [*same, *({**record, "memo": name} for record in other)]
        with Peer(agent.run / "payment.sock") as own:
            requests = [request_of("transaction.record", record) for record in records]
            own.send(b"\n".join(requests) + b"\n")
            by_id = {answer["id"]: answer for answer in (own.answer() for _ in requests)}
            answers[name] = [by_id[json.loads(request)["id"]] for request in requests]

    threads = [threading.Thread(target=side, args=(name,)) for name in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    pairs = list(zip(answers["a"], answers["b"], strict=True))
    assert len(pairs) == 100
    for one, two in pairs[:50]:
        assert one["result"]["sequence"] == two["result"]["sequence"]
        assert sorted([one["result"]["duplicate"], two["result"]["duplicate"]]) == [False, True]
    for pair in pairs[50:]:
        [stored] = [answer["result"]["sequence"] for answer in pair if "result" in answer]
        [conflict] = [answer["error"]["data"] for answer in pair if "error" in answer]
        assert conflict["code"] == "TXN_CONFLICT"
        assert conflict["sequence"] > stored


def test_pages_stay_true_while_records_come_in(peer: Peer, support: Peer) -> None:
    for _ in range(30):
        peer.record(sale())
    before = {entry["seq"] for entry in support.everything("transaction.list")}
    seen: list[int] = []
    for page in support.pages("transaction.list", 7):
        seen += [entry["seq"] for entry in page]
        if len(seen) < 30:
            peer.record(sale())
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


def test_the_chain_holds_after_all_of_this(support: Peer) -> None:
    entries = support.everything("transaction.list")
    expected = {"intact": True, "upto_sequence": len(entries), "missing": []}
    assert support.ask("journal.verify") == expected
