"""Resets, reinits, cancelling and rebirth by the contract's words: orders by MQTT and by hand, counted by others.

One agent, one printer emulator, one keeper of units for the module; who sells is said by strangers at payment.sock.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.kit.agent_process import ROOT
from tests.kit.broker import Broker, eventually, subscribe
from tests.kit.contract_peer import Peer, record_of, sale
from tests.kit.contract_walk import (
    BASE,
    EVERYTHING,
    FINAL,
    SITE,
    STATE_FIELDS,
    Terminal,
    matching,
    online,
    order,
    outcome,
    said,
    settled,
)
from tests.kit.emulator_process import EmulatedPrinter
from tests.kit.orders import OPERATOR, SECOND_OPERATOR, SUPPORT, Signer, order_payload, signed_order, signed_policy
from tests.kit.supervisor import SupervisorProcess, application

SHOP, PRINTD = "shop.service", "printd.service"
DEVICE = {"level": "device", "device": "printer-0"}
ONE, BOTH = (OPERATOR,), (OPERATOR, SECOND_OPERATOR)
SPEAKS_ONCE = """
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode() + b"\\n")
print(s.makefile().readline())
"""


@dataclass
class Place:
    broker: Broker
    printer: EmulatedPrinter
    machine: SupervisorProcess
    terminal: Terminal

    def peer(self) -> Peer:
        return Peer(self.terminal.payment)

    def counter(self, name: str) -> int:
        return self.printer.control.get().counters[name]

    def acts(self, command_id: str) -> int:
        return int(self.machine.ask(verb="counters")["counters"]["acts"].get(command_id, 0))

    def an_application_says(self, **counts: int) -> None:
        """Some application that nobody configured gives its status, and is gone."""
        status = {"ready": True, "signed_in": True, "batch_no": None}
        numbers = {"pending_reversals": 0, "unknown_results": 0, "saf_count": 0, **counts}
        request = {"jsonrpc": "2.0", "id": 1, "method": "app.status", "params": {**status, **numbers}}
        command = [sys.executable, "-c", SPEAKS_ONCE, str(self.terminal.payment), json.dumps(request)]
        answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert answer["result"] == {}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("t")
    (folder / "b").mkdir()
    agent_run = folder / "a" / "run"
    shop = {
        "name": SHOP,
        "argv": [sys.executable, str(ROOT / "tests/crash/speaking_app.py"), str(agent_run / "payment.sock")],
        "kind": "notify",
        "cache": ["cache/shop"],
    }
    units: list[dict[str, Any]] = [shop, application("printd")]
    with (
        Broker(folder / "b") as broker,
        EmulatedPrinter(folder) as printer,
        SupervisorProcess(folder / "m", units) as machine,
    ):
        config = {
            "paths": {
                "state": str(folder / "a/state"),
                "run": str(agent_run),
                "procfs": str(machine.procfs),
            },
            "machine": {"kind": "supervisor", "socket": str(machine.socket), "units": [PRINTD]},
            "application": [{"name": "shop", "unit": SHOP}],
            "devices": {"printer-0": {"port": str(printer.port)}},
            "terminal": {"model": "countertop"},
        }
        models = {"countertop": (ROOT / "config/models/countertop.toml").read_text()}
        terminal = Terminal(folder / "a", broker.port, config, policy=signed_policy(), models=models)
        with terminal.agent:
            asyncio.run(online(broker))
            yield Place(broker, printer, machine, terminal)


async def _ordered(
    place: Place, name: str, arguments: Mapping[str, Any], signers: Sequence[Signer] = ONE, **fields: Any
) -> dict[str, Any]:
    """Order it by MQTT; the final state, which is checked for its form."""
    payload = order_payload(name, arguments, **fields)
    async with subscribe(place.broker, EVERYTHING) as watcher:
        command_id = await order(watcher, payload, signers)
        final = await outcome(watcher, name, command_id, timeout_s=40.0)
    assert sorted(final) == sorted(STATE_FIELDS)
    return final


def _why(state: Mapping[str, Any]) -> tuple[str, str | None]:
    return state["state"], state["reason"] and state["reason"]["code"]


async def test_reset_of_a_printer_sends_its_recovery_command_once_and_says_how_it_was_and_is(place: Place) -> None:
    before = place.counter("recovery_requests")
    final = await _ordered(place, "reset", DEVICE)
    assert _why(final) == ("succeeded", None)
    assert place.counter("recovery_requests") == before + 1
    assert (final["result"]["device"], final["result"]["after"]["state"]) == ("printer-0", "ok")
    assert (final["step"], final["steps"]) == (3, 3)


async def test_reinit_of_a_printer_sets_its_standard_state(place: Place) -> None:
    before = place.counter("initialisations")
    final = await _ordered(place, "reinit", {"scope": "device", "device": "printer-0"})
    assert (_why(final), place.counter("initialisations")) == (("succeeded", None), before + 1)


async def test_a_printer_with_a_cause_that_stays_fails_and_says_so(place: Place) -> None:
    place.printer.control.set(paper_end=True)
    try:
        final = await _ordered(place, "reinit", {"scope": "device", "device": "printer-0"})
    finally:
        place.printer.control.set(paper_end=False)
    assert _why(final) == ("failed", "NOT_VERIFIED")
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
            assert _why(waiting) == ("waiting", "SALE_RUNNING")
            reread = await _ordered(place, "reset", {"level": "reread", "device": "printer-0"})
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
    final = await _ordered(place, "reset", arguments)
    assert _why(final) == ("rejected", code)
    assert place.acts(final["command_id"]) == 0


async def test_pending_reversals_are_noted_for_a_reset_of_the_application_because_only_it_can_send_them(
    place: Place,
) -> None:
    place.an_application_says(pending_reversals=3)
    final = await _ordered(place, "reset", {"level": "app", "unit": SHOP})
    assert (final["state"], final["reason"]) == ("succeeded", None)
    assert final["result"]["pending_reversals"] >= 3
    assert "PENDING_REVERSALS" in {note["code"] for note in final["result"]["noted"]}


async def test_two_people_can_force_what_money_forbids(place: Place) -> None:
    forced = {"level": "service", "unit": PRINTD, "force": True}
    place.an_application_says(pending_reversals=1)
    alone = await _ordered(place, "reset", forced)
    assert _why(alone) == ("rejected", "NOT_AUTHORISED")
    starts = len(place.machine.starts("printd"))
    both = await _ordered(place, "reset", forced, BOTH)
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
    assert _why(states[0]) == ("rejected", "BATCH_UNSETTLED")
    assert "000007" in states[0]["reason"]["text"]
    assert states[1]["state"] == "succeeded", states[1]


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
    assert _why(await _ordered(place, name, arguments, signers)) == ("rejected", code)


async def test_a_whole_terminal_is_known_and_refused_with_its_reason_even_with_its_serial(place: Place) -> None:
    target = {"terminal": "T-0001", "serial": "SN123"}
    final = await _ordered(place, "reinit", {"scope": "terminal"}, BOTH, target=target)
    assert _why(final) == ("rejected", "INVALID_ARGUMENTS")
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
        cancel = await _ordered(place, "cancel", {"command_id": target["command_id"]})
        assert cancel["state"] == "succeeded"
        final = await outcome(watcher, "reset", target["command_id"])
        again = await _ordered(place, "cancel", {"command_id": target["command_id"]})
        await settled(watcher)
        states = [said(one) for one in matching(watcher.messages, topic)]
    assert _why(final) == ("cancelled", "CANCELLED")
    assert again["state"] == "succeeded", "what is wanted is so"
    assert [state["state"] for state in states if state["state"] in FINAL] == ["cancelled"]
    assert [state["rev"] for state in states] == sorted(state["rev"] for state in states)
    assert place.counter("recovery_requests") == before


async def test_what_is_unknown_or_over_cannot_be_cancelled_and_is_told_so(place: Place) -> None:
    done = await _ordered(place, "ping", {}, (SUPPORT,))
    unknown = await _ordered(place, "cancel", {"command_id": "never-seen"})
    over = await _ordered(place, "cancel", {"command_id": done["command_id"]})
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


async def test_a_fourth_reset_of_the_same_target_within_the_hour_is_rejected(place: Place) -> None:
    finals = [await _ordered(place, "reset", DEVICE) for _ in range(4)]
    before = place.counter("recovery_requests")
    last = await _ordered(place, "reset", DEVICE)
    assert _why(finals[-1]) == _why(last) == ("rejected", "TOO_MANY_TRIES")
    assert place.counter("recovery_requests") == before
