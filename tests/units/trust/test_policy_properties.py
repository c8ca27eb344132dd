"""A policy file with anything in it is used whole or refused with a reason; and more signers never mean less."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.policy import POLICY_TYPE, CommandRule, Policy
from agent.errors import PolicyInvalid
from agent.trust.policy import authorise, load_policy
from tests.kit.orders import EVERYBODY, ROOT, policy_payload, sign_bytes, signed_policy

NOW = datetime(2026, 11, 21, tzinfo=UTC)
GOOD = load_policy(signed_policy())
PAYLOAD = policy_payload()
ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _used_or_refused(data: bytes) -> None:
    refused: PolicyInvalid | None = None
    try:
        policy = load_policy(data)
    except PolicyInvalid as err:
        refused = err
    else:
        assert isinstance(policy, Policy)
    assert refused is None or refused.message.startswith("the trust policy is not used: ")
    assert refused is None or refused.hint


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_policy_or_refused(data: bytes) -> None:
    _used_or_refused(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | ANY.map(msgspec.json.encode))
def test_any_signed_payload_is_a_policy_or_refused(payload: bytes) -> None:
    _used_or_refused(sign_bytes(payload, (ROOT,), POLICY_TYPE))


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*PAYLOAD, "extra"]), ANY, min_size=1, max_size=2))
def test_any_field_may_hold_anything(changes: dict[str, Any]) -> None:
    _used_or_refused(signed_policy({**PAYLOAD, **changes}))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(EVERYBODY) - 1), st.sampled_from(["keyid", "public_key", "person", "roles", "x"]), ANY)
def test_any_key_may_be_spoilt_anywhere(place: int, name: str, value: Any) -> None:
    keys = [dict(key) for key in PAYLOAD["keys"]]
    keys[place][name] = value
    _used_or_refused(signed_policy({**PAYLOAD, "keys": keys}))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_one_changed_byte_of_a_signed_policy_is_never_used(data: st.DataObject) -> None:
    whole = bytearray(signed_policy())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    try:
        policy = load_policy(bytes(whole))
    except PolicyInvalid:
        return
    assert policy == GOOD  # white space, or a key id, which is only a hint


RULES = st.builds(
    CommandRule,
    st.lists(st.sampled_from(["support", "operator", "security"]), min_size=1, max_size=3, unique=True).map(tuple),
    st.integers(1, 3),
    st.integers(1, 3),
)
KEYS = st.lists(st.sampled_from(GOOD.keys), max_size=6)


@given(RULES, KEYS, KEYS)
def test_more_signatures_never_take_a_permission_away(rule: CommandRule, keys: list[Any], more: list[Any]) -> None:
    if authorise(GOOD, rule, keys, NOW).allowed:
        assert authorise(GOOD, rule, [*keys, *more], NOW).allowed


@given(RULES, KEYS)
def test_one_person_counts_once_and_only_with_a_listed_role(rule: CommandRule, keys: list[Any]) -> None:
    verdict = authorise(GOOD, rule, [*keys, *keys], NOW)
    entitled = {key.person for key in keys if set(key.roles) & set(rule.roles)}
    assert verdict.allowed == (
        len(entitled) >= rule.people
        and len({key.organisation for key in keys if key.person in entitled}) >= rule.organisations
    )
    assert not verdict.allowed or set(verdict.people) == entitled
