"""Orders by the contract's words: who may, what is refused and how that shows; bad input leaves nothing behind.

One agent and one broker for the module, so tests run in order and every order has an id of its own.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.kit import orders
from tests.kit.broker import Broker, eventually, subscribe
from tests.kit.contract_walk import (
    BASE,
    EVERYTHING,
    FINAL,
    RFC3339,
    SITE,
    STATE_FIELDS,
    Terminal,
    matching,
    now,
    online,
    order,
    outcome,
    said,
    settled,
    until,
)
from tests.kit.orders import OPERATOR, SECOND_OPERATOR, SUPPORT, Signer, order_payload, signed_order

TWIN = Signer("operator-person", ("operator",), number=2)  # another key of the same person
RULES = {"check_device": {"roles": ["operator"], "people": 2, "organisations": 1, "local": "support"}}
POLICY = orders.signed_policy(orders.policy_payload((*orders.EVERYBODY, TWIN), commands=RULES))
CHECK = {"device": "memory", "level": "internal"}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Terminal]:
    one = Terminal(tmp_path_factory.mktemp("terminal"), broker.port, policy=POLICY)
    with one.agent:
        asyncio.run(online(broker))
        yield one


def _envelope(**changes: Any) -> dict[str, Any]:
    """A good envelope of a fresh ping, then ``changes``."""
    good: dict[str, Any] = json.loads(signed_order())
    return {**good, **changes}


def _unauthentic() -> dict[str, bytes]:
    """Payloads that nobody entitled sealed for this terminal."""
    good = _envelope()
    signature = good["signatures"][0]
    other_signature = json.loads(signed_order())["signatures"]
    stranger = json.loads(signed_order(signers=[orders.STRANGER]))
    hinted = [{**one, "keyid": SUPPORT.key.keyid} for one in stranger["signatures"]]
    wrong_serial = order_payload(target={"terminal": "T-0001", "serial": "SN999"})
    twice = json.dumps(order_payload()).replace('{"command_id"', '{"command_id": "another-id", "command_id"', 1)
    return {
        "empty": b"",
        "not JSON": b"\xff\xfe rubbish",
        "an array": b"[]",
        "no envelope": json.dumps(order_payload()).encode(),
        "deep": b"[" * 30_000 + b"]" * 30_000,
        "bad base64 in the payload": json.dumps({**good, "payload": "@@@@"}).encode(),
        "bad base64 in the signature": json.dumps({**good, "signatures": [{**signature, "sig": "!"}]}).encode(),
        "no signature": json.dumps({**good, "signatures": []}).encode(),
        "nine signatures": json.dumps({**good, "signatures": [signature] * 9}).encode(),
        "another type": orders.sign_json(order_payload(), [SUPPORT], "application/vnd.pos-agent.policy.v1+json"),
        "unknown key": signed_order(signers=[orders.STRANGER]),
        "wrong key under a known keyid": json.dumps({**stranger, "signatures": hinted}).encode(),
        "signature of another payload": json.dumps({**good, "signatures": other_signature}).encode(),
        "envelope names twice": json.dumps(good).replace("{", '{"payload": "e30=", ', 1).encode(),
        "other terminal": signed_order(order_payload(terminal="T-0002")),
        "other serial": signed_order(wrong_serial),
        "the whole site on an own topic": signed_order(order_payload(terminal="_all")),
        "no usable id": signed_order(order_payload(command_id="../../etc")),
        "two ids": orders.sign_bytes(twice.encode(), [SUPPORT]),
        "a number as payload": orders.sign_bytes(b"17", [SUPPORT]),
        "64 KiB and more": signed_order(order_payload(reason="x" * 60_000)),
    }


async def test_what_is_not_authentic_leaves_no_row_no_topic_and_one_event(broker: Broker, terminal: Terminal) -> None:
    before = terminal.rows()
    async with subscribe(broker, EVERYTHING) as watcher:
        for payload in _unauthentic().values():
            await watcher.publish(f"{BASE}in/req/ping", payload)
        for _ in range(100):
            await watcher.publish(f"{BASE}in/req/ping", b"the same rubbish")
        await watcher.publish(f"{BASE}in/req/ping", signed_order(order_payload(reason="1 MiB" + "x" * 1_048_576)))
        await watcher.publish(f"{BASE}in/req/ping", signed_order(), retain=True)
        await watcher.publish(f"{BASE}in/req/ping", b"", retain=True)
        await watcher.publish(f"pos/v1/{SITE}/_all/in/req/ping", signed_order())  # its target is one terminal
        await watcher.publish(f"{BASE}in/req/ping/deeper", signed_order())
        await watcher.publish(f"{BASE}in/elsewhere", signed_order())
        await settled(watcher)
        events = await watcher.collect(1, f"{BASE}agent/e/security")
        assert terminal.rows() == before + 1
        topics = {one.topic for one in watcher.messages if one.topic.startswith(f"{BASE}agent/op/")}
        assert len(topics) == 1
        await settled(watcher)
        assert len(watcher.on(f"{BASE}agent/e/security")) == 1, "at most one event a minute"
    event = said(events[0])
    assert (event["specversion"], event["data"]["code"]) == ("1.0", "SEC-SIG-001")
    assert {"id", "source", "type", "time", "data"} <= event.keys()
    assert event["data"]["count"] >= 1
    assert (events[0].qos, events[0].retained) == (1, False)
    faults = await until(broker, "agent/faults", lambda one: any(f["code"] == "SEC-SIG-001" for f in one["faults"]))
    [fault] = [one for one in faults["faults"] if one["code"] == "SEC-SIG-001"]
    assert (fault["severity"], fault["impact"]) == ("S1", "security")


async def test_messages_too_large_for_any_envelope_are_part_of_the_count(broker: Broker, terminal: Terminal) -> None:
    async with subscribe(broker, EVERYTHING) as watcher:
        for _ in range(50):
            await watcher.publish(f"{BASE}in/req/ping", b"x" * 70_000)
        await settled(watcher)
    lines = [line for line in terminal.agent.log().splitlines() if "too_large" in line or "oversize" in line]
    assert len(lines) <= 2, f"a flood is told once, not once a message: {lines[:3]}"


async def test_states_are_always_whole_and_their_rev_only_grows(broker: Broker, terminal: Terminal) -> None:
    payload = order_payload()
    async with subscribe(broker, EVERYTHING) as watcher:
        command_id = await order(watcher, payload)
        final = await outcome(watcher, "ping", command_id)
        messages = matching(watcher.messages, f"agent/op/ping/{command_id}")
    states = [said(one) for one in messages]
    for state in states:
        assert sorted(state) == sorted(STATE_FIELDS)
        assert (state["command_id"], state["name"]) == (command_id, "ping")
        assert RFC3339.fullmatch(state["accepted_at"])
        assert RFC3339.fullmatch(state["updated_at"])
    assert all(one.qos == 1 and one.retained for one in messages)
    assert all(later["rev"] > earlier["rev"] for earlier, later in pairwise(states))
    assert (final["state"], final["reason"]) == ("succeeded", None)
    assert await now(broker, f"agent/op/ping/{command_id}") == final
    assert terminal.ask("command.get", command_id=command_id) == final


def _refusals() -> dict[str, tuple[Mapping[str, Any], Sequence[Signer], str, str]]:
    now_, day = datetime.now(UTC), timedelta(days=1)
    support, people = (SUPPORT,), (OPERATOR, SECOND_OPERATOR)
    past = now_ - timedelta(hours=2)
    return {
        "another role": (order_payload(), (OPERATOR,), "rejected", "NOT_AUTHORISED"),
        "root is no support": (order_payload(), (orders.ROOT,), "rejected", "NOT_AUTHORISED"),
        "one of two people": (order_payload("check_device", CHECK), (OPERATOR,), "rejected", "NOT_AUTHORISED"),
        "one person, two keys": (order_payload("check_device", CHECK), (OPERATOR, TWIN), "rejected", "NOT_AUTHORISED"),
        "a signer without the role": (
            order_payload("check_device", CHECK),
            (OPERATOR, SUPPORT),
            "rejected",
            "NOT_AUTHORISED",
        ),
        "not by default": (order_payload("reset", {"level": "reread"}), support, "rejected", "NOT_AUTHORISED"),
        "late": (order_payload(issued_at=past), support, "expired", "EXPIRED"),
        "31 days": (order_payload(lifetime=31 * day), support, "rejected", "LIFETIME_TOO_LONG"),
        "before the journal": (
            order_payload(issued_at=now_ - day, lifetime=2 * day),
            support,
            "rejected",
            "REPLAYED",
        ),
        "from the future": (
            order_payload(issued_at=now_ + timedelta(minutes=7)),
            support,
            "rejected",
            "INVALID_REQUEST",
        ),
        "unknown command": (order_payload("dance"), support, "rejected", "UNKNOWN_COMMAND"),
        "unknown field": (order_payload(urgent=True), support, "rejected", "INVALID_REQUEST"),
        "unknown field in the target": (
            order_payload(target={"terminal": "T-0001", "imei": "1"}),
            support,
            "rejected",
            "INVALID_REQUEST",
        ),
        "not a time": (order_payload(expires_at="tomorrow"), support, "rejected", "INVALID_REQUEST"),
        "arguments of nobody": (order_payload("ping", {"x": 1}), support, "rejected", "INVALID_ARGUMENTS"),
        "arguments no object": ({**order_payload(), "arguments": []}, support, "rejected", "INVALID_ARGUMENTS"),
        "no such level": (
            order_payload("check_device", {**CHECK, "level": "deep"}),
            people,
            "rejected",
            "INVALID_ARGUMENTS",
        ),
        "no such device": (
            order_payload("check_device", {**CHECK, "device": "printer-9"}),
            people,
            "rejected",
            "DEVICE_UNKNOWN",
        ),
    }


@pytest.mark.parametrize("case", list(_refusals()))
async def test_authentic_but_refused_is_a_row_and_a_final_state_with_its_reason(
    broker: Broker, terminal: Terminal, case: str
) -> None:
    payload, signers, state, reason = _refusals()[case]
    before = terminal.rows()
    async with subscribe(broker, EVERYTHING) as watcher:
        command_id = await order(watcher, payload, signers)
        final = await outcome(watcher, payload["name"], command_id)
    assert sorted(final) == sorted(STATE_FIELDS)
    assert final["state"] == state
    assert final["reason"]["code"] == reason, final["reason"]
    assert sorted(final["reason"]) == ["code", "text"]
    assert terminal.rows() == before + 1
    assert terminal.ask("command.get", command_id=command_id)["state"] == state


async def test_topic_and_payload_must_name_the_same_and_no_name_stands_twice(
    broker: Broker, terminal: Terminal
) -> None:
    disagree, doubled = order_payload(), order_payload()
    twice = json.dumps(doubled)[:-1] + ', "reason": "a", "reason": "b"}'
    async with subscribe(broker, EVERYTHING) as watcher:
        await watcher.publish(f"{BASE}in/req/check_device", signed_order(disagree))
        await watcher.publish(f"{BASE}in/req/ping", orders.sign_bytes(twice.encode(), [SUPPORT]))
        for payload in (disagree, doubled):
            final = await outcome(watcher, "ping", payload["command_id"])
            assert (final["state"], final["reason"]["code"]) == ("rejected", "INVALID_REQUEST")


async def test_what_is_just_within_the_bounds_is_done(broker: Broker, terminal: Terminal) -> None:
    near_future = datetime.now(UTC) + timedelta(minutes=4)
    soon = (datetime.now(UTC) + timedelta(seconds=1)).replace(microsecond=250_000)
    cases = [
        (order_payload(issued_at=near_future), [SUPPORT]),
        (order_payload(lifetime=timedelta(days=30)), [SUPPORT]),
        (order_payload(issued_at=soon), [SUPPORT]),
        (order_payload(target={"terminal": "T-0001", "serial": "SN123"}, reason="ticket 4711"), [SUPPORT]),
        (order_payload("check_device", CHECK), [OPERATOR, SECOND_OPERATOR]),
        (order_payload(), [orders.STRANGER, SUPPORT]),  # one signature of a known key is enough to be authentic
    ]
    async with subscribe(broker, EVERYTHING) as watcher:
        for payload, signers in cases:
            await order(watcher, payload, signers)
            final = await outcome(watcher, payload["name"], payload["command_id"])
            assert final["state"] == "succeeded", (payload, final)


async def test_a_known_id_answers_the_same_message_and_other_content_changes_nothing(
    broker: Broker, terminal: Terminal
) -> None:
    payload = order_payload()
    topic = f"{BASE}agent/op/ping/{payload['command_id']}"
    async with subscribe(broker, EVERYTHING) as watcher:
        await order(watcher, payload)
        first = await outcome(watcher, "ping", payload["command_id"])
        rows, told = terminal.rows(), len(watcher.on(topic))
        await order(watcher, payload)
        written_otherwise = json.dumps(dict(reversed(list(payload.items()))), indent=2).encode()
        await watcher.publish(f"{BASE}in/req/ping", orders.sign_bytes(written_otherwise, [SUPPORT]))
        seen = await watcher.collect(told + 2, topic)
        assert [said(one) for one in seen[told:]] == [first, first]
        await order(watcher, {**payload, "reason": "something else"})
        await settled(watcher)
        assert len(watcher.on(topic)) == told + 2, "other content is not answered"
    assert terminal.rows() == rows + 1
    assert terminal.ask("command.get", command_id=payload["command_id"]) == first
    faults = await until(broker, "agent/faults", lambda one: any(f["code"] == "SEC-RPL-001" for f in one["faults"]))
    assert {"SEC-RPL-001"} <= {one["code"] for one in faults["faults"]}


async def test_the_same_order_100_times_is_one_run(broker: Broker, terminal: Terminal) -> None:
    payload = order_payload()
    rows = terminal.rows()
    async with subscribe(broker, EVERYTHING) as watcher:
        envelope = signed_order(payload)
        for _ in range(100):
            await watcher.publish(f"{BASE}in/req/ping", envelope)
        await settled(watcher)
        await outcome(watcher, "ping", payload["command_id"])
        states = [json.loads(one) for one in watcher.on(f"{BASE}agent/op/ping/{payload['command_id']}")]
    assert terminal.rows() == rows + 2
    assert all(later["rev"] >= earlier["rev"] for earlier, later in pairwise(states))
    finals = [one for one in states if one["state"] in FINAL]
    assert all(one == finals[0] for one in finals)


async def test_an_order_to_the_whole_site_is_taken_at_once_and_answered_later(
    broker: Broker, terminal: Terminal
) -> None:
    payload = order_payload(terminal="_all")
    async with subscribe(broker, EVERYTHING) as watcher:
        await watcher.publish(f"pos/v1/{SITE}/_all/in/req/ping", signed_order(payload))
        await settled(watcher)
    state = terminal.ask("command.get", command_id=payload["command_id"])
    assert state["name"] == "ping"


async def test_an_order_outside_its_window_waits_and_says_why(broker: Broker, terminal: Terminal) -> None:
    later = datetime.now().astimezone() + timedelta(hours=3)
    window = {"from": f"{later:%H:%M}", "to": f"{later + timedelta(hours=1):%H:%M}"}
    payload = order_payload(window=window, lifetime=timedelta(hours=12))
    async with subscribe(broker, EVERYTHING) as watcher:
        await order(watcher, payload)
    state = await until(broker, f"agent/op/ping/{payload['command_id']}", lambda one: one["state"] == "waiting")
    assert state["reason"]["code"] == "OUTSIDE_WINDOW"


async def test_command_run_takes_the_way_of_a_remote_command(broker: Broker, terminal: Terminal) -> None:
    async with subscribe(broker, EVERYTHING) as watcher:
        state = terminal.run(command_id="local-1", name="ping", arguments={}, reason="by hand")["result"]
        assert sorted(state) == sorted(STATE_FIELDS)
        final = await outcome(watcher, "ping", "local-1")
    again = terminal.run(command_id="local-1", name="ping", arguments={}, reason="by hand")["result"]
    assert again == final
    other = terminal.run(command_id="local-1", name="ping", arguments={}, reason="not the same")["error"]
    assert other["code"] == -32000
    assert "by hand" not in json.dumps(other)
    assert terminal.ask("command.get", command_id="local-1") == final
    checked = terminal.run(command_id="local-2", name="check_device", arguments=CHECK)["result"]
    assert checked["state"] in {"accepted", "running", "succeeded"}
    uids = terminal.query("SELECT source, uid FROM commands WHERE command_id = 'local-1'")
    assert uids[0][1] is not None, "the peer's uid is on record"


def test_command_run_refuses_what_the_policy_does_not_make_local(terminal: Terminal) -> None:
    rows = terminal.rows()
    for name in ("configure", "update", "unlock", "activate", "decommission", "policy"):
        error = terminal.run(command_id=f"no-{name}", name=name, arguments={}, reason="x")["error"]
        assert (error["code"], error["data"]["code"]) == (-32000, "NOT_AUTHORISED"), error
    assert terminal.rows() == rows


def test_command_run_carries_a_signed_order_in(terminal: Terminal) -> None:
    payload = order_payload()
    envelope = json.loads(signed_order(payload))
    state = terminal.run(envelope=envelope)["result"]
    assert (state["command_id"], sorted(state)) == (payload["command_id"], sorted(STATE_FIELDS))
    rows = terminal.rows()
    tampered = {**envelope, "payload": base64.b64encode(json.dumps(order_payload()).encode()).decode()}
    foreign = json.loads(signed_order(order_payload(terminal="T-0002")))
    for bad in (tampered, foreign, {}):
        error = terminal.run(envelope=bad)["error"]
        assert error["code"] in {-32000, -32602}, error
        assert error["data"]["code"]
    mixed = terminal.run(envelope=envelope, name="ping")["error"]
    assert (mixed["code"], mixed["data"]["code"]) == (-32602, "BAD_PARAMS")
    assert terminal.rows() == rows
    late = json.loads(signed_order(order_payload(issued_at=datetime.now(UTC) - timedelta(hours=3))))
    assert terminal.run(envelope=late)["result"]["state"] == "expired"


@pytest.mark.parametrize("kind", ["none", "development", "damaged"])
async def test_without_a_usable_policy_only_the_local_table_holds(tmp_path: Path, broker: Broker, kind: str) -> None:
    person = Signer("developer", ("root", "support", "operator"), organisation="development")
    policies = {
        "none": None,
        "development": orders.signed_policy(orders.policy_payload([person]), [person]),
        "damaged": orders.signed_policy(orders.policy_payload(), [orders.STRANGER]),
    }
    config = {"terminal": {"site": SITE, "terminal": f"T-{kind}", "serial": "SN1"}}
    one = Terminal(tmp_path, broker.port, config, policy=policies[kind])
    base = f"pos/v1/{SITE}/T-{kind}/"
    with one.agent:
        async with subscribe(broker, base + "#") as watcher:
            await watcher.until(lambda seen: any(said(m).get("online") for m in seen if m.topic.endswith("status")))
            for signer in (person, SUPPORT, orders.ROOT):
                await watcher.publish(f"{base}in/req/ping", signed_order(order_payload(terminal=f"T-{kind}"), [signer]))
            await watcher.collect(1, f"{base}agent/e/security")
            assert one.rows() == 0
            state = one.run(command_id="here", name="ping", arguments={}, reason="by hand")["result"]
            assert state["command_id"] == "here"
            await eventually(lambda: one.ask("command.get", command_id="here")["state"] == "succeeded")
            assert (
                one.run(command_id="cfg", name="configure", arguments={})["error"]["data"]["code"] == "NOT_AUTHORISED"
            )
