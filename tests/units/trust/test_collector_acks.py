"""Whose acknowledgement is believed, and that nothing else gets further than a cause."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from agent.contract.journal_upload import ACK_TYPE, CollectorAck
from agent.contract.policy import Policy
from agent.trust.collector_acks import AckRefused, believe_ack
from agent.trust.envelope import MAX_BYTES
from agent.trust.policy import load_policy
from tests.kit import orders
from tests.kit.collector import COLLECTOR, collector_policy, signed_ack
from tests.kit.hostile import payloads

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
POLICY = load_policy(collector_policy())
ACK: dict[str, Any] = {
    "terminal": "T-0001",
    "journal_id": "0192f6d0-7c1e-7000-8000-000000000001",
    "upto_seq": 412,
    "chain": "ab" * 32,
}


def believe(
    payload: bytes, *, policy: Policy | None = POLICY, retained: bool = False, terminal: str = "T-0001"
) -> CollectorAck:
    return believe_ack(policy, payload, retained=retained, terminal=terminal, now=NOW)


def cause(payload: bytes, **options: Any) -> str:
    with pytest.raises(AckRefused) as caught:
        believe(payload, **options)
    return caught.value.cause


def test_a_collectors_word_is_believed_alone_and_among_other_signatures() -> None:
    for signers in ((COLLECTOR,), (orders.STRANGER, orders.OPERATOR, COLLECTOR)):
        assert believe(signed_ack(ACK, signers)) == CollectorAck(**ACK)
    assert believe(signed_ack({**ACK, "resend_from": 7})).resend_from == 7


def test_other_roles_strangers_and_retained_messages_are_not() -> None:
    assert cause(signed_ack(ACK, (orders.OPERATOR, orders.ROOT, orders.SUPPORT))) == "no_collector"
    assert cause(signed_ack(ACK, (orders.STRANGER,))) == "no_collector"
    assert cause(signed_ack(ACK), policy=load_policy(orders.signed_policy())) == "no_collector"
    assert cause(signed_ack(ACK), retained=True) == "retained_ack"
    assert cause(signed_ack(ACK), terminal="T-0002") == "other_terminal"


def test_without_a_policy_nothing_is_believed_and_an_expired_one_authorises_no_deletion() -> None:
    """What counts as delivered may be removed by retention; under an expired policy entries wait instead."""
    assert cause(signed_ack(ACK), policy=None) == "no_policy"
    assert cause(signed_ack(ACK), policy=load_policy(collector_policy(expires_at=NOW))) == "expired_policy"
    valid = load_policy(collector_policy(expires_at=NOW + timedelta(seconds=1)))
    assert believe(signed_ack(ACK), policy=valid).upto_seq == 412


@pytest.mark.parametrize(
    "change",
    [
        {"upto_seq": -1},
        {"upto_seq": 2**63},
        {"upto_seq": 1.0},
        {"upto_seq": "412"},
        {"chain": "AB" * 32},
        {"chain": "ab" * 31},
        {"chain": None},
        {"resend_from": 0},
        {"resend_from": True},
        {"terminal": 5},
        {"more": 1},
    ],
)
def test_a_signed_word_of_another_form_is_not_read(change: dict[str, Any]) -> None:
    assert cause(signed_ack({**ACK, **change})) == "unreadable_ack"


def test_a_name_that_stands_twice_could_be_read_two_ways() -> None:
    content = msgspec.json.encode(ACK)
    twice = content[:-1] + b',"upto_seq":5}'
    assert cause(orders.sign_bytes(twice, (COLLECTOR,), ACK_TYPE)) == "unreadable_ack"
    envelope = signed_ack(ACK)
    assert cause(envelope[:-1] + b',"payload":"e30="}') == "no_envelope"


def test_another_type_too_large_and_too_many_signatures_are_no_acknowledgement() -> None:
    assert cause(orders.sign_json(ACK, (COLLECTOR,))) == "no_envelope", "signed as an order"
    assert cause(signed_ack(ACK) + b" " * MAX_BYTES) == "no_envelope"
    nine = msgspec.json.decode(signed_ack(ACK))
    nine["signatures"] *= 9
    assert cause(msgspec.json.encode(nine)) == "no_envelope"


@settings(deadline=None)
@given(payloads)
def test_whatever_comes_is_refused_with_a_word_of_our_own(payload: bytes) -> None:
    assert cause(payload) == "no_envelope"
    assert cause(orders.sign_bytes(payload, (COLLECTOR,), ACK_TYPE)) in {"unreadable_ack", "no_envelope"}
