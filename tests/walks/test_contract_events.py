"""Events by the contract's words, from strangers at both sockets: raw lines, and a printer whose cover is opened.

"`events.subscribe` `{"kinds": ["lock", "operation", "health", "readiness"]}` → then notifications with method `event`,
params `{"kind", "at", "data"}`"; it answers `{}`, and the last subscription replaces the one before.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.kit.agent_process import AgentProcess
from tests.kit.contract_peer import BAD_PARAMS, OF_THE_AGENT, Peer, eventually, request_of, sale
from tests.kit.printer_process import PrinterProcess

MODEL = """
schema = 1
title = "Does not sell without its printer"
[devices.printer-0]
category = "pos_printer"
driver = "escpos"
sensors = ["paper_end", "cover"]
answers = true
required = true
"""
KINDS = ["lock", "operation", "health", "readiness"]
AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Shop(NamedTuple):
    agent: AgentProcess
    printer: PrinterProcess
    payment: Path
    control: Path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    printer = PrinterProcess(folder)
    agent = AgentProcess(
        folder,
        {
            "terminal": {"site": "shop-1", "terminal": "T-0001", "serial": "SN123", "model": "counter"},
            "devices": {"printer-0": {"port": str(printer.port)}},
            "health": {"interval_s": 0.3},
        },
    )
    (folder / "etc" / "models").mkdir()
    (folder / "etc" / "models" / "counter.toml").write_text(MODEL)
    try:
        eventually(printer.is_up, "the emulator")
        with agent:
            yield Shop(agent, printer, agent.run / "payment.sock", agent.run / "control.sock")
    finally:
        printer.close()


@pytest.fixture
def healthy(shop: Shop) -> Shop:
    shop.printer.control.set(cover_open=False, slow=0.0)
    with Peer(shop.payment) as peer:
        eventually(lambda: peer.ask("terminal.state")["ready"] is True, "the terminal to be ready")
    return shop


def event(peer: Peer) -> dict[str, Any]:
    """The next line, which must be an event; its params."""
    line = peer.line()
    assert line, "the connection was closed"
    message: dict[str, Any] = json.loads(line)
    assert set(message) == {"jsonrpc", "method", "params"}, message
    assert (message["jsonrpc"], message["method"]) == ("2.0", "event")
    params: dict[str, Any] = message["params"]
    assert set(params) == {"kind", "at", "data"}
    assert params["kind"] in KINDS
    assert AT.fullmatch(params["at"])
    return params


def until(peer: Peer, kind: str, **wanted: Any) -> dict[str, Any]:
    """The data of the first event of ``kind`` with these values."""
    while True:
        told = event(peer)
        if told["kind"] == kind and all(told["data"][name] == value for name, value in wanted.items()):
            data: dict[str, Any] = told["data"]
            return data


@pytest.mark.parametrize("door", ["payment", "control"])
def test_both_sockets_tell_health_and_readiness_as_they_change(healthy: Shop, door: str) -> None:
    with Peer(getattr(healthy, door)) as peer, Peer(healthy.control) as support:
        assert peer.ask("events.subscribe", kinds=["health", "readiness"]) == {}
        healthy.printer.control.set(cover_open=True)
        health = until(peer, "health", device="printer-0", state="failed")
        assert set(health) == {"device", "category", "state", "power_state", "detail", "since", "at"}
        asked = next(one for one in support.ask("health.get")["devices"] if one["device"] == "printer-0")
        assert (asked["state"], asked["since"]) == (health["state"], health["since"])
        healthy.printer.control.set(cover_open=False)
        until(peer, "health", device="printer-0", state="ok")


def test_readiness_is_told_with_its_reasons(healthy: Shop) -> None:
    with Peer(healthy.payment) as peer:
        peer.ask("events.subscribe", kinds=["readiness"])
        healthy.printer.control.set(cover_open=True)
        told = event(peer)
        assert (told["kind"], told["data"]["ready"]) == ("readiness", False)
        assert [reason["code"] for reason in told["data"]["reasons"]] == ["HW-PRN-004"]
        with Peer(healthy.payment) as another:
            assert another.ask("terminal.state")["reasons"] == told["data"]["reasons"]
        healthy.printer.control.set(cover_open=False)
        told = event(peer)
        assert (told["kind"], told["data"]["ready"], told["data"]["reasons"]) == ("readiness", True, [])


def test_the_last_subscription_replaces_the_one_before_and_an_empty_one_ends_it(healthy: Shop) -> None:
    with Peer(healthy.payment) as peer, Peer(healthy.payment) as witness:
        witness.ask("events.subscribe", kinds=["readiness"])
        peer.ask("events.subscribe", kinds=["readiness"])
        peer.ask("events.subscribe", kinds=["lock"])
        healthy.printer.control.set(cover_open=True)
        assert event(witness)["data"]["ready"] is False
        peer.ask("events.subscribe", kinds=[])
        healthy.printer.control.set(cover_open=False)
        assert event(witness)["data"]["ready"] is True
        assert set(peer.call("terminal.state")) == {"jsonrpc", "id", "result"}  # nothing came between


def test_calls_go_on_beside_a_subscription(healthy: Shop) -> None:
    with Peer(healthy.payment) as peer:
        peer.ask("events.subscribe", kinds=["lock", "readiness"])
        assert peer.record(sale())["duplicate"] is False
        state = peer.ask("terminal.state")
        assert state["ready"] is True


@pytest.mark.parametrize("kinds", [None, "health", ["money"], [1], {"health": True}, ["health"] * 100])
def test_kinds_are_a_list_of_the_four(shop: Shop, kinds: object) -> None:
    for door in (shop.payment, shop.control):
        with Peer(door) as peer:
            error = peer.refused("events.subscribe", {"kinds": kinds})
            assert (error["code"], error["data"]["code"]) == (BAD_PARAMS, "BAD_PARAMS")
            assert error["data"]["field"].startswith("kinds")
            assert peer.refused("events.subscribe")["data"]["field"] == "kinds"
            assert peer.refused("events.subscribe", {"kinds": [], "since": 1})["data"]["field"] == "(unknown)"


def test_a_thousand_subscribers_are_all_told(healthy: Shop) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(healthy.payment)) for _ in range(1000)]
        for peer in peers:
            peer.send(request_of("events.subscribe", {"kinds": ["readiness"]}) + b"\n")
        for peer in peers:
            assert peer.answer()["result"] == {}
        healthy.printer.control.set(cover_open=True)
        assert {event(peer)["data"]["ready"] for peer in peers} == {False}
        healthy.printer.control.set(cover_open=False)
        assert {event(peer)["data"]["ready"] for peer in peers} == {True}


def test_while_an_operation_runs_sales_are_told_to_wait_and_everybody_hears_of_it(healthy: Shop) -> None:
    order = {"name": "check_device", "arguments": {"device": "printer-0", "level": "external"}}
    command_id = str(uuid.uuid4())
    with ExitStack() as stack:
        payment, support, asking = (
            stack.enter_context(Peer(path)) for path in (healthy.payment, healthy.control, healthy.payment)
        )
        for peer in (payment, support):
            peer.ask("events.subscribe", kinds=["operation"])
        healthy.printer.control.set(slow=0.4)
        with Peer(healthy.control) as ordering:
            ordering.ask("command.run", command_id=command_id, **order)
        running = until(payment, "operation", state="running")
        assert (running["command_id"], running["name"], len(running)) == (command_id, "check_device", 11)
        state = asking.ask("terminal.state")
        assert (state["operation"]["command_id"], state["operation"]["name"]) == (command_id, "check_device")
        for purpose in ("sale", "reversal", "settlement"):
            error = asking.refused("sale.begin", {"lease_s": 60, "purpose": purpose})
            assert (error["code"], error["data"]["code"]) == (OF_THE_AGENT, "OPERATION_RUNNING")
            assert error["data"]["retry_after_s"] > 0
        assert asking.record(sale())["duplicate"] is False  # a record is never kept out
        healthy.printer.control.set(slow=0.0)
        ended = until(payment, "operation", state="succeeded")
        assert ended["result"] is None  # what it found is for those who may read it
        assert until(support, "operation", state="succeeded")["result"]["device"] == "printer-0"
        lease = asking.ask("sale.begin", lease_s=60, purpose="sale")
        assert asking.ask("terminal.state")["operation"] is None
        assert asking.ask("sale.end", lease_id=lease["lease_id"]) == {}


def test_what_runs_beside_others_concerns_no_sale(healthy: Shop) -> None:
    with Peer(healthy.payment) as payment, Peer(healthy.control) as support:
        payment.ask("events.subscribe", kinds=["operation", "readiness"])
        support.ask("events.subscribe", kinds=["operation"])
        with Peer(healthy.control) as ordering:
            ordering.ask("health.check", device="printer-0", level="internal")
        assert until(support, "operation", state="succeeded")["name"] == "check_device"
        healthy.printer.control.set(cover_open=True)
        assert event(payment)["kind"] == "readiness"  # and nothing before it


def test_an_operation_waits_for_the_end_of_a_sale_and_begins_the_moment_it_is_over(healthy: Shop) -> None:
    with Peer(healthy.payment) as shop, Peer(healthy.control) as support, Peer(healthy.control) as ordering:
        support.ask("events.subscribe", kinds=["operation"])
        lease = shop.ask("sale.begin", lease_s=180, purpose="sale")["lease_id"]
        order = {"name": "check_device", "arguments": {"device": "printer-0", "level": "external"}}
        ordering.ask("command.run", command_id=str(uuid.uuid4()), **order)
        waiting = until(support, "operation", state="waiting")
        assert waiting["reason"]["code"] == "SALE_RUNNING"
        assert shop.ask("sale.renew", lease_id=lease, lease_s=180)["lease_id"] == lease
        assert shop.record(sale())["duplicate"] is False
        shop.ask("sale.end", lease_id=lease)
        until(support, "operation", state="running")
        assert until(support, "operation", state="succeeded")["reason"] is None
