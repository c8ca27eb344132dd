"""Cancelling, rebirth, refusals and local orders by the contract's words: by MQTT and by hand, from strangers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.kit.broker import eventually, subscribe
from tests.kit.contract_walk import (
    BASE,
    EVERYTHING,
    FINAL,
    SITE,
    matching,
    online,
    order,
    outcome,
    said,
    settled,
)
from tests.kit.operations_place import BOTH, DEVICE, ONE, PRINTD, Place, open_place, ordered, why
from tests.kit.orders import SUPPORT, Signer, order_payload, signed_order


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with open_place(tmp_path_factory.mktemp("t")) as one:
        yield one


@pytest.mark.parametrize(
    ("name", "arguments", "signers", "code"),
    [
        ("reset", {"level": "device"}, ONE, "INVALID_ARGUMENTS"),
        ("reset", {"level": "device", "device": "printer-9"}, ONE, "DEVICE_UNKNOWN"),
        ("reset", {"level": "device", "device": "memory"}, ONE, "INVALID_ARGUMENTS"),
        ("reset", {"level": "app", "unit": PRINTD}, ONE, "INVALID_ARGUMENTS"),
        ("reset", {"level": "service", "unit": "ssh.service"}, ONE, "INVALID_ARGUMENTS"),
        ("reset", {"level": "factory"}, ONE, "INVALID_ARGUMENTS"),
        ("reset", {"level": "power_cycle"}, ONE, "INVALID_ARGUMENTS"),
        ("reset", DEVICE, (SUPPORT,), "NOT_AUTHORISED"),
        ("reinit", {"scope": "terminal"}, ONE, "NOT_AUTHORISED"),
        ("reinit", {"scope": "terminal"}, BOTH, "INVALID_REQUEST"),
        ("cancel", {"command_id": "c"}, (SUPPORT,), "NOT_AUTHORISED"),
        ("cancel", {}, ONE, "INVALID_ARGUMENTS"),
    ],
)
async def test_what_may_not_be_or_cannot_be_is_rejected_with_its_reason(
    place: Place, name: str, arguments: dict[str, Any], signers: tuple[Signer, ...], code: str
) -> None:
    assert why(await ordered(place, name, arguments, signers)) == ("rejected", code)


async def test_a_whole_terminal_is_known_and_refused_with_its_reason_even_with_its_serial(place: Place) -> None:
    target = {"terminal": "T-0001", "serial": "SN123"}
    final = await ordered(place, "reinit", {"scope": "terminal"}, BOTH, target=target)
    assert why(final) == ("rejected", "INVALID_ARGUMENTS")
    assert "terminal" in final["reason"]["text"]


async def test_an_order_that_waits_is_cancelled_and_has_one_final_state(place: Place) -> None:
    now = datetime.now(UTC).astimezone()
    window = {"from": f"{(now.hour + 11) % 24:02d}:00", "to": f"{(now.hour + 12) % 24:02d}:00"}
    target = order_payload("reset", DEVICE, window=window)
    before = place.counter("recovery_requests")
    topic = f"agent/op/reset/{target['command_id']}"
    async with subscribe(place.broker, EVERYTHING) as watcher:
        await order(watcher, target, ONE)
        await watcher.until(lambda seen: any(one.topic == BASE + topic for one in seen))
        cancel = await ordered(place, "cancel", {"command_id": target["command_id"]})
        assert cancel["state"] == "succeeded"
        final = await outcome(watcher, "reset", target["command_id"])
        again = await ordered(place, "cancel", {"command_id": target["command_id"]})
        await settled(watcher)
        states = [said(one) for one in matching(watcher.messages, topic)]
    assert why(final) == ("cancelled", "CANCELLED")
    assert again["state"] == "succeeded", "what is wanted is so"
    assert [state["state"] for state in states if state["state"] in FINAL] == ["cancelled"]
    assert [state["rev"] for state in states] == sorted(state["rev"] for state in states)
    assert place.counter("recovery_requests") == before


async def test_what_is_unknown_or_over_cannot_be_cancelled_and_is_told_so(place: Place) -> None:
    done = await ordered(place, "ping", {}, (SUPPORT,))
    unknown = await ordered(place, "cancel", {"command_id": "never-seen"})
    over = await ordered(place, "cancel", {"command_id": done["command_id"]})
    assert unknown["state"] == over["state"] == "failed"
    assert "no order" in unknown["reason"]["text"]
    assert "succeeded" in over["reason"]["text"]


async def test_a_flood_of_orders_to_cancel_one_order_ends_it_once(place: Place) -> None:
    with place.peer() as peer:
        lease = peer.ask("sale.begin", lease_s=60, purpose="sale")
        target = order_payload("reset", DEVICE)
        async with subscribe(place.broker, EVERYTHING) as watcher:
            await order(watcher, target, ONE)
            cancels = [order_payload("cancel", {"command_id": target["command_id"]}) for _ in range(60)]
            for payload in cancels:
                await order(watcher, payload, ONE)
            finals = [await outcome(watcher, "cancel", payload["command_id"]) for payload in cancels]
            states = [said(one) for one in matching(watcher.messages, f"agent/op/reset/{target['command_id']}")]
        peer.ask("sale.end", lease_id=lease["lease_id"])
    assert {state["state"] for state in finals} == {"succeeded"}
    assert [state["state"] for state in states if state["state"] in FINAL] == ["cancelled"]


async def test_rebirth_publishes_birth_and_the_own_truth_again(place: Place) -> None:
    async with subscribe(place.broker, EVERYTHING) as watcher:
        await settled(watcher)
        already = len(matching(watcher.messages, "agent/birth")), len(matching(watcher.messages, "agent/readiness"))
        payload = order_payload("rebirth")
        final = await outcome(watcher, "rebirth", await order(watcher, payload))
        births = matching(watcher.messages, "agent/birth")
        assert (len(births), len(matching(watcher.messages, "agent/readiness"))) > already
        assert (final["state"], final["result"]) == ("succeeded", {"published": True})
        assert {"reset", "reinit", "cancel", "rebirth"} <= set(said(births[-1])["commands"])


async def test_without_a_broker_rebirth_says_that_nothing_was_published(place: Place) -> None:
    place.broker.stop()
    try:
        place.terminal.run(command_id="by-hand-1", name="rebirth", arguments={}, reason="no broker")
        await eventually(
            lambda: place.terminal.ask("command.get", command_id="by-hand-1")["state"] in FINAL, what="rebirth ends"
        )
        told = place.terminal.ask("command.get", command_id="by-hand-1")
    finally:
        place.broker.start()
    assert (told["state"], told["result"]) == ("succeeded", {"published": False})
    await online(place.broker)


async def test_of_a_whole_site_only_what_touches_nothing_can_be_ordered(place: Place) -> None:
    async with subscribe(place.broker, EVERYTHING) as watcher:
        wanted = [
            order_payload("reset", {"level": "reread", "device": "printer-0"}, terminal="_all"),
            order_payload("cancel", {"command_id": "c"}, terminal="_all"),
        ]
        for payload in wanted:
            await watcher.publish(f"pos/v1/{SITE}/_all/in/req/{payload['name']}", signed_order(payload, ONE))
        rebirth = order_payload("rebirth", terminal="_all")
        await watcher.publish(f"pos/v1/{SITE}/_all/in/req/rebirth", signed_order(rebirth))
        for payload in wanted:
            await eventually(
                lambda payload=payload: (
                    place.terminal.query(  # type: ignore[misc]
                        "SELECT reason_code FROM commands WHERE command_id = ?", payload["command_id"]
                    )
                    == [("INVALID_REQUEST",)]
                ),
                what="refused",
            )
        await eventually(
            lambda: bool(place.terminal.query("SELECT 1 FROM commands WHERE command_id = ?", rebirth["command_id"])),
            what="taken at once, answered within a minute",
        )


async def test_local_orders_follow_the_default_policy(place: Place) -> None:
    run = place.terminal.run
    taken = run(command_id="local-1", name="reset", arguments={"level": "reread", "device": "printer-0"}, reason="me")
    assert taken["result"]["state"] in {"accepted", "running", "succeeded"}
    for command_id, name, arguments in (
        ("local-2", "reset", {**DEVICE, "force": True}),
        ("local-3", "reinit", {"scope": "terminal"}),
    ):
        refused = run(command_id=command_id, name=name, arguments=arguments, reason="me")
        assert refused["error"]["data"]["code"] == "NOT_AUTHORISED", refused
    carried = signed_order(order_payload("reset", {**DEVICE, "force": True}, command_id="carried-1"), BOTH)
    assert run(envelope=json.loads(carried))["result"]["command_id"] == "carried-1"
    await eventually(
        lambda: place.terminal.ask("command.get", command_id="carried-1")["state"] == "succeeded",
        what="carried in by hand",
    )
