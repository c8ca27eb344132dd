"""Resets, reinits, cancelling and rebirth by the contract's words: orders by MQTT and by hand, counted by others.

One agent, one printer emulator, one keeper of units for the module; who sells is said by strangers at payment.sock.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.agent_process import ROOT
from tests.kit.broker import Broker, subscribe
from tests.kit.contract_peer import Peer, record_of, sale
from tests.kit.contract_walk import (
    BASE,
    EVERYTHING,
    FINAL,
    Terminal,
    matching,
    online,
    order,
    outcome,
    said,
)
from tests.kit.operations_place import BOTH, DEVICE, ONE, PRINTD, SHOP, Place, open_place, ordered, why
from tests.kit.orders import order_payload, signed_policy
from tests.kit.supervisor import SupervisorProcess


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with open_place(tmp_path_factory.mktemp("t")) as one:
        yield one


async def test_reset_of_a_printer_sends_its_recovery_command_once_and_says_how_it_was_and_is(place: Place) -> None:
    before = place.counter("recovery_requests")
    final = await ordered(place, "reset", DEVICE)
    assert why(final) == ("succeeded", None)
    assert place.counter("recovery_requests") == before + 1
    assert (final["result"]["device"], final["result"]["after"]["state"]) == ("printer-0", "ok")
    assert (final["step"], final["steps"]) == (3, 3)


async def test_reinit_of_a_printer_sets_its_standard_state(place: Place) -> None:
    before = place.counter("initialisations")
    final = await ordered(place, "reinit", {"scope": "device", "device": "printer-0"})
    assert (why(final), place.counter("initialisations")) == (("succeeded", None), before + 1)


async def test_a_printer_with_a_cause_that_stays_fails_and_says_so(place: Place) -> None:
    place.printer.control.set(paper_end=True)
    try:
        final = await ordered(place, "reinit", {"scope": "device", "device": "printer-0"})
    finally:
        place.printer.control.set(paper_end=False)
    assert why(final) == ("failed", "NOT_VERIFIED")
    assert "paper" in final["reason"]["text"]


async def test_a_live_lease_makes_an_exclusive_order_wait_and_its_end_lets_it_begin(place: Place) -> None:
    before = place.counter("recovery_requests")
    payload = order_payload("reset", DEVICE)
    topic = f"{BASE}agent/op/reset/{payload['command_id']}"
    with place.peer() as peer:
        lease = peer.ask("sale.begin", lease_s=60, purpose="sale")
        async with subscribe(place.broker, EVERYTHING) as watcher:
            await order(watcher, payload, ONE)
            await watcher.until(
                lambda seen: any(one.topic == topic and said(one)["state"] == "waiting" for one in seen)
            )
            waiting = said(matching(watcher.messages, topic.removeprefix(BASE))[-1])
            assert why(waiting) == ("waiting", "SALE_RUNNING")
            reread = await ordered(place, "reset", {"level": "reread", "device": "printer-0"})
            assert reread["state"] == "succeeded", "it reads, so it waits for nobody"
            assert place.counter("recovery_requests") == before
            peer.ask("sale.end", lease_id=lease["lease_id"])
            final = await outcome(watcher, "reset", payload["command_id"], timeout_s=20.0)
    assert (final["state"], final["reason"]) == ("succeeded", None)
    assert place.counter("recovery_requests") == before + 1


async def test_while_an_operation_has_the_terminal_no_sale_begins_and_applications_see_its_states(
    place: Place,
) -> None:
    payload = order_payload("reset", {"level": "app"})
    with place.peer() as events, place.peer() as peer:
        events.ask("events.subscribe", kinds=["operation"])
        async with subscribe(place.broker, EVERYTHING) as watcher:
            await order(watcher, payload, ONE)
            refusals: list[dict[str, Any]] = []
            while not refusals:
                answer = peer.call("sale.begin", {"lease_s": 10, "purpose": "sale"})
                if "error" in answer:
                    refusals.append(answer["error"]["data"])
                else:
                    peer.ask("sale.end", lease_id=answer["result"]["lease_id"])
                await asyncio.sleep(0)
            assert refusals[0]["code"] == "OPERATION_RUNNING"
            assert 1 <= refusals[0]["retry_after_s"] <= 60
            state = await asyncio.to_thread(peer.ask, "terminal.state")
            assert state["operation"]["command_id"] == payload["command_id"]
            final = await outcome(watcher, "reset", payload["command_id"], timeout_s=40.0)
        assert (final["state"], final["reason"]) == ("succeeded", None)
        assert final["result"]["app_reported"] is True
        seen: list[str] = []
        while not seen or seen[-1] not in FINAL:
            data = json.loads(events.line())["params"]["data"]
            if data["command_id"] == payload["command_id"]:
                seen.append(data["state"])
                assert data["result"] is None, "what an operation brought is not the applications' business"
        lease = peer.ask("sale.begin", lease_s=1, purpose="sale")
        peer.ask("sale.end", lease_id=lease["lease_id"])
    assert seen[-1] == "succeeded"
    assert place.acts(payload["command_id"]) == 1


@pytest.mark.parametrize(
    ("counts", "arguments", "code"),
    [
        (
            {"unknown_results": 1},
            {"level": "reboot"},
            "UNKNOWN_RESULTS",
        ),  # what others say stays for 90 s: see the table
        ({"pending_reversals": 1}, {"level": "reboot"}, "PENDING_REVERSALS"),
        ({"pending_reversals": 2}, {"level": "service", "unit": PRINTD}, "PENDING_REVERSALS"),
    ],
)
async def test_unfinished_money_forbids_what_could_lose_it(
    place: Place, counts: dict[str, int], arguments: dict[str, Any], code: str
) -> None:
    place.an_application_says(**counts)
    final = await ordered(place, "reset", arguments)
    assert why(final) == ("rejected", code)
    assert place.acts(final["command_id"]) == 0


async def test_pending_reversals_are_noted_for_a_reset_of_the_application_because_only_it_can_send_them(
    place: Place,
) -> None:
    place.an_application_says(pending_reversals=3)
    final = await ordered(place, "reset", {"level": "app", "unit": SHOP})
    assert (final["state"], final["reason"]) == ("succeeded", None)
    assert final["result"]["pending_reversals"] >= 3
    assert "PENDING_REVERSALS" in {note["code"] for note in final["result"]["noted"]}


async def test_two_people_can_force_what_money_forbids(place: Place) -> None:
    forced = {"level": "service", "unit": PRINTD, "force": True}
    place.an_application_says(pending_reversals=1)
    alone = await ordered(place, "reset", forced)
    assert why(alone) == ("rejected", "NOT_AUTHORISED")
    starts = len(place.machine.starts("printd"))
    both = await ordered(place, "reset", forced, BOTH)
    assert both["state"] == "succeeded", both
    assert "PENDING_REVERSALS" in {note["code"] for note in both["result"]["noted"]}
    assert len(place.machine.starts("printd")) == starts + 1
    assert place.acts(both["command_id"]) == 1


async def test_a_batch_with_money_in_it_forbids_clearing_the_applications_queues_until_it_is_settled(
    tmp_path: Path,
) -> None:
    """On a terminal of its own: here nobody must have anything pending."""
    folder = tmp_path / "a"
    shop = {
        "name": SHOP,
        "argv": [sys.executable, str(ROOT / "tests/crash/speaking_app.py"), str(folder / "run/payment.sock")],
        "kind": "notify",
        "cache": ["cache/shop"],
    }
    with SupervisorProcess(tmp_path / "m", [shop]) as machine, Broker(tmp_path) as broker:
        config = {
            "paths": {"state": str(folder / "state"), "run": str(folder / "run"), "procfs": str(machine.procfs)},
            "machine": {"kind": "supervisor", "socket": str(machine.socket)},
            "application": [{"name": "shop", "unit": SHOP}],
        }
        terminal = Terminal(folder, broker.port, config, policy=signed_policy())
        queue = machine.folder / "cache/shop"
        with terminal.agent, Peer(terminal.payment) as peer:
            await online(broker)
            queue.mkdir(parents=True)
            (queue / "job").write_text("x")
            peer.record(sale(batch_no="000007"))
            states = []
            for settle in (False, True):
                if settle:
                    peer.record(record_of("settlement", batch_no="000007"))
                payload = order_payload("reinit", {"scope": "app"})
                async with subscribe(broker, EVERYTHING) as watcher:
                    command_id = await order(watcher, payload, ONE)
                    states.append(await outcome(watcher, "reinit", command_id, timeout_s=40.0))
                assert (queue / "job").exists() is not settle
    assert why(states[0]) == ("rejected", "BATCH_UNSETTLED")
    assert "000007" in states[0]["reason"]["text"]
    assert states[1]["state"] == "succeeded", states[1]


async def test_a_reset_that_failed_three_times_within_the_hour_is_not_tried_again(place: Place) -> None:
    assert why(await ordered(place, "reset", DEVICE)) == ("succeeded", None), "what helps may be done again"
    place.printer.control.set(paper_end=True)
    try:
        failed = [await ordered(place, "reset", DEVICE) for _ in range(3)]
        before = place.counter("recovery_requests")
        last = await ordered(place, "reset", DEVICE)
    finally:
        place.printer.control.set(paper_end=False)
    assert [why(one) for one in failed] == [("failed", "NOT_VERIFIED")] * 3
    assert why(last) == ("rejected", "TOO_MANY_TRIES")
    assert place.counter("recovery_requests") == before
