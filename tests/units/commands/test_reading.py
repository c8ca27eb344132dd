"""The payload of an authentic envelope, by any bytes; and commands against their own arguments."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.commands.catalog import build_commands
from agent.commands.command import Prepared
from agent.commands.means import Means
from agent.commands.reading import read_order
from agent.contract.command import Reason, ReasonCode
from agent.trust.policy import DEFAULT_RULES
from tests.kit.command_room import Shelf
from tests.kit.orders import order_payload

ORDER = order_payload("ping", command_id="c-1")
SHELF = Shelf()
COMMANDS = build_commands(Means(check=SHELF.check, devices=SHELF.devices))
_LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False)
)
_ANY = st.recursive(
    _LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | _ANY.map(msgspec.json.encode))
def test_any_bytes_are_an_order_or_none(payload: bytes) -> None:
    read_order(payload, "ping")


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*ORDER, "extra"]), _ANY, min_size=1, max_size=3))
def test_any_field_may_hold_anything(changes: dict[str, Any]) -> None:
    read = read_order(msgspec.json.encode({**ORDER, **changes}), None)
    if read is not None:
        assert (read.request is None) == bool(read.problem)
        assert len(read.digest) == 32


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=6), _ANY, max_size=4))
def test_the_order_of_names_is_no_part_of_the_meaning(arguments: dict[str, Any]) -> None:
    one = read_order(msgspec.json.encode({**ORDER, "arguments": arguments}), None)
    turned = dict(reversed({**ORDER, "arguments": dict(reversed(arguments.items()))}.items()))
    other = read_order(msgspec.json.encode(turned), None)
    assert one is not None
    assert other is not None
    if one.request is not None:
        assert one.digest == other.digest


def test_refusals_never_repeat_what_was_sent() -> None:
    for changes in ({"secret-field": 1}, {"target": {"terminal": "T-0001", "secret-field": 1}}, {"reason": ["secret"]}):
        read = read_order(msgspec.json.encode({**ORDER, **changes}), None)
        assert read is not None
        assert read.request is None
        assert "secret" not in read.problem
    for name in COMMANDS:
        refused = COMMANDS[name].prepare(b'{"secret-field": "secret"}')
        assert isinstance(refused, Reason)
        assert "secret" not in refused.text


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_of_the_catalog_is_of_the_contract_and_refuses_rubbish(name: str) -> None:
    command = COMMANDS[name]
    assert command.name == name
    prepared = command.prepare(b"{}")
    assert (name if isinstance(prepared, Reason) else prepared.rule) in DEFAULT_RULES
    for rubbish in (b"", b"[]", b"null", b"\xff", b"[" * 20_000, b'{"no_such_argument":1}'):
        refused = command.prepare(rubbish)
        assert isinstance(refused, Reason)
        assert refused.code is ReasonCode.INVALID_ARGUMENTS


@pytest.mark.parametrize(
    ("name", "arguments", "exclusive", "needs_trusted_clock", "site_wide"),
    [
        ("ping", {}, False, False, True),
        ("check_device", {"device": "printer-0", "level": "internal"}, False, False, True),
        ("check_device", {"device": "printer-0", "level": "external"}, True, True, False),
    ],
)
def test_what_a_command_asks_for(
    name: str, arguments: dict[str, str], exclusive: bool, needs_trusted_clock: bool, site_wide: bool
) -> None:
    prepared = COMMANDS[name].prepare(msgspec.json.encode(arguments))
    assert isinstance(prepared, Prepared)
    assert prepared.plan.exclusive is exclusive
    assert prepared.needs_trusted_clock is needs_trusted_clock
    assert prepared.site_wide is site_wide
    assert prepared.rule == name
