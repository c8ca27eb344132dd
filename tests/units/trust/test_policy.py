"""Policies: what is read, who may order what, and how people are counted."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.contract.policy import CommandRule, Policy, PolicyKey
from agent.errors import PolicyInvalid
from agent.trust.policy import (
    DEFAULT_RULES,
    authorise,
    authorise_local,
    is_development_policy,
    is_expired,
    load_policy,
    read_policy,
    rule_for,
)
from tests.kit.orders import (
    EVERYBODY,
    OPERATOR,
    ROOT,
    SECOND_OPERATOR,
    STRANGER,
    SUPPORT,
    Signer,
    policy_payload,
    sign_json,
    signed_policy,
)

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
LATER = datetime(2100, 1, 1, tzinfo=UTC)
ROOT_OTHER_KEY = Signer("root-person", ("root",), number=2)
SECOND_ROOT = Signer("second-root", ("root",))


def _policy(**fields: Any) -> Policy:
    return load_policy(signed_policy(policy_payload(**fields)))


def _keys(policy: Policy, *signers: Signer) -> list[PolicyKey]:
    return [key for key in policy.keys if key.keyid in {signer.key.keyid for signer in signers}]


def test_a_policy_signed_by_its_own_root_is_read() -> None:
    policy = _policy(commands={"ping": {"roles": ["support", "operator"], "local": "support"}})
    assert (policy.version, len(policy.keys)) == (1, 4)
    assert policy.commands["ping"] == CommandRule(("support", "operator"), 1, 1, "support")


def test_two_keys_of_one_root_are_one_person() -> None:
    payload = policy_payload((*EVERYBODY, ROOT_OTHER_KEY, SECOND_ROOT), root_threshold=2)
    with pytest.raises(PolicyInvalid, match="1 of the 2 people"):
        load_policy(signed_policy(payload, (ROOT, ROOT_OTHER_KEY)))
    assert load_policy(signed_policy(payload, (ROOT, SECOND_ROOT))).root_threshold == 2


@pytest.mark.parametrize("signers", [(SUPPORT,), (OPERATOR, SECOND_OPERATOR), (STRANGER,)])
def test_without_its_root_a_policy_is_refused(signers: tuple[Signer, ...]) -> None:
    with pytest.raises(PolicyInvalid, match="signed by 0"):
        load_policy(signed_policy(policy_payload(), signers))


def _bad_key(**fields: Any) -> dict[str, Any]:
    return policy_payload() | {"keys": [ROOT.as_policy_key() | fields]}


NON_CANONICAL = base64.b64encode(ROOT.key.public_bytes).decode()


@pytest.mark.parametrize(
    "payload",
    [
        policy_payload() | {"version": 0},
        policy_payload() | {"root_threshold": 0},
        policy_payload() | {"keys": []},
        policy_payload() | {"extra": 1},
        policy_payload() | {"issued_at": "2026-11-01T00:00:00"},
        policy_payload() | {"issued_at": "2099-01-02T00:00:00Z"},
        policy_payload() | {"commands": {"ping": {"roles": ["king"]}}},
        policy_payload() | {"commands": {"ping": {"roles": []}}},
        policy_payload() | {"commands": {"ping": {"roles": ["support"], "people": 0}}},
        policy_payload() | {"commands": {"ping": {"roles": ["support"], "local": "anybody"}}},
        policy_payload() | {"commands": {"Ping!": {"roles": ["support"]}}},
        policy_payload() | {"lock_units": ["../evil"]},
        _bad_key(keyid=SUPPORT.key.keyid),
        _bad_key(keyid=ROOT.key.keyid.upper()),
        _bad_key(public_key=base64.b64encode(b"short").decode()),
        _bad_key(public_key=NON_CANONICAL.rstrip("=")),
        _bad_key(public_key=base64.urlsafe_b64encode(b"\xff" * 32).decode()),
        _bad_key(roles=[]),
        _bad_key(person="li wei"),
        policy_payload((*EVERYBODY, ROOT)),
        policy_payload((*EVERYBODY, Signer("operator-person", ("operator",), organisation="acquirer-b", number=2))),
    ],
)
def test_a_policy_of_wrong_form_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(PolicyInvalid):
        load_policy(signed_policy(payload))


def test_public_keys_with_stray_bits_are_refused() -> None:
    last = NON_CANONICAL[-2]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    stray = alphabet[alphabet.index(last) | 1 if not alphabet.index(last) & 1 else alphabet.index(last) ^ 1]
    with pytest.raises(PolicyInvalid, match="canonical"):
        load_policy(signed_policy(_bad_key(public_key=NON_CANONICAL[:-2] + stray + "=")))


@pytest.mark.parametrize("data", [b"", b"{}", b"policy", sign_json(policy_payload(), [ROOT])])
def test_what_is_no_signed_policy_is_refused(data: bytes) -> None:
    with pytest.raises(PolicyInvalid):
        load_policy(data)


def test_a_refused_policy_does_not_repeat_what_it_held() -> None:
    with pytest.raises(PolicyInvalid) as caught:
        load_policy(signed_policy(policy_payload() | {"version": "secret-value"}))
    assert "secret-value" not in str(caught.value)


def test_the_file_is_read_and_its_absence_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    assert read_policy(path) is None
    path.write_bytes(signed_policy())
    assert read_policy(path) == load_policy(signed_policy())
    path.write_bytes(b"{}")
    with pytest.raises(PolicyInvalid, match=r"policy\.json"):
        read_policy(path)
    with pytest.raises(PolicyInvalid):
        read_policy(tmp_path)


def test_only_signers_with_a_listed_role_count() -> None:
    policy = _policy()
    rule = CommandRule(("operator",), people=2)
    assert not authorise(policy, rule, _keys(policy, OPERATOR, SUPPORT, ROOT), NOW).allowed
    verdict = authorise(policy, rule, _keys(policy, OPERATOR, SECOND_OPERATOR), NOW)
    assert (verdict.allowed, verdict.people) == (True, ("operator-person", "second-operator"))


def test_one_person_with_two_keys_counts_once() -> None:
    again = Signer("operator-person", ("operator",), number=2)
    policy = _policy(people=(*EVERYBODY, again))
    rule = CommandRule(("operator",), people=2)
    assert not authorise(policy, rule, _keys(policy, OPERATOR, again), NOW).allowed
    assert authorise(policy, rule, _keys(policy, OPERATOR, again, SECOND_OPERATOR), NOW).allowed


def test_organisations_count_only_among_signers_with_the_role() -> None:
    colleague = Signer("colleague", ("operator",))
    elsewhere = Signer("elsewhere", ("support",), organisation="acquirer-b")
    policy = _policy(people=(*EVERYBODY, colleague, elsewhere))
    rule = CommandRule(("operator",), people=2, organisations=2)
    assert not authorise(policy, rule, _keys(policy, OPERATOR, colleague, elsewhere), NOW).allowed
    assert authorise(policy, rule, _keys(policy, OPERATOR, SECOND_OPERATOR), NOW).allowed


def test_an_expired_policy_authorises_nothing() -> None:
    policy = _policy()
    rule = DEFAULT_RULES["ping"]
    assert is_expired(policy, policy.expires_at)
    assert not is_expired(policy, NOW)
    assert authorise(policy, rule, _keys(policy, SUPPORT), NOW).allowed
    assert not authorise(policy, rule, _keys(policy, SUPPORT), LATER).allowed
    assert not authorise_local(policy, rule, frozenset({"support", "admin"}), LATER).allowed


@pytest.mark.parametrize(
    ("local", "rights", "allowed"),
    [
        ("support", {"support"}, True),
        ("support", {"admin"}, True),
        ("support", set(), False),
        ("admin", {"support"}, False),
        ("admin", {"support", "admin"}, True),
        (None, {"support", "admin"}, False),
    ],
)
def test_local_rights(local: Any, rights: set[str], allowed: bool) -> None:
    rule = CommandRule(("operator",), local=local)
    assert authorise_local(_policy(), rule, frozenset(rights), NOW).allowed is allowed
    assert authorise_local(None, rule, frozenset(rights), NOW).allowed is allowed


def test_beside_a_policy_that_cannot_be_used_only_supports_own_orders_are_given_at_the_terminal() -> None:
    everything = frozenset({"support", "admin"})
    cases: tuple[tuple[Any, bool], ...] = (("support", True), ("admin", False), (None, False))
    for local, allowed in cases:
        rule = CommandRule(("operator",), local=local)
        assert authorise_local(None, rule, everything, NOW, unusable=True).allowed is allowed


def test_what_the_policy_does_not_list_has_the_default() -> None:
    policy = _policy(commands={"reset": {"roles": ["security"], "people": 3}})
    assert rule_for(policy, "reset") == CommandRule(("security",), people=3)
    assert rule_for(policy, "reset.force") == CommandRule(("operator",), people=2)
    assert rule_for(policy, "reinit.terminal") == CommandRule(("operator",), people=2)
    assert rule_for(None, "reset") == CommandRule(("operator",), local="admin")
    assert rule_for(policy, "frobnicate") is None


def test_the_default_table_is_that_of_the_contract() -> None:
    local = {name: rule.local for name, rule in DEFAULT_RULES.items() if rule.local}
    assert {name for name, right in local.items() if right == "support"} == {
        "ping",
        "rebirth",
        "check_device",
        "collect_diagnostics",
        "backup",
        "maintenance",
    }
    assert {name for name, right in local.items() if right == "admin"} == {"cancel", "reset", "reinit", "lock"}
    assert {name for name, rule in DEFAULT_RULES.items() if rule.people == 2} == {
        "reset.force",
        "reinit.terminal",
        "activate",
        "switch_provider",
        "decommission",
    }


def test_a_development_policy_is_known_by_its_organisation() -> None:
    assert not is_development_policy(_policy())
    assert is_development_policy(_policy(people=(*EVERYBODY, Signer("dev", ("operator",), organisation="development"))))
