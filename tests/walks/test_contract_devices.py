"""Devices by the contract's words: each fault of the emulated printer, seen at the broker, and back again.

The emulator is a process of its own with its own counters; the agent reaches it by its port alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from tests.kit import orders
from tests.kit.broker import Broker, eventually, subscribe
from tests.kit.contract_walk import (
    BASE,
    EVERYTHING,
    RFC3339,
    SITE,
    TERMINAL,
    Terminal,
    matching,
    now,
    online,
    order,
    outcome,
    said,
    until,
)
from tests.kit.printer_process import PrinterProcess

MODELS = {
    "counter": """
schema = 1
title = "Does not sell without its printer"
[devices.printer-0]
category = "pos_printer"
driver = "escpos"
sensors = ["near_end", "paper_end", "cover"]
answers = true
required = true
[devices.printer-1]
category = "pos_printer"
driver = "escpos"
sensors = ["paper_end", "cover"]
answers = true
required = false
[devices.printer-2]
category = "pos_printer"
driver = "escpos"
sensors = []
answers = false
required = false
"""
}


class Bad(NamedTuple):
    """What a condition of the emulator must look like at the broker; ``stops``: the required printer stops selling."""

    state: str
    power_state: str
    code: str
    severity: str
    stops: bool


FAULTS: Mapping[str, Bad] = {
    "paper_end": Bad("failed", "online", "HW-PRN-002", "S2", True),
    "near_end": Bad("degraded", "online", "HW-PRN-003", "S3", False),
    "cover_open": Bad("failed", "online", "HW-PRN-004", "S2", True),
    "cutter_error": Bad("failed", "online", "HW-PRN-005", "S2", True),
    "mechanical_error": Bad("failed", "online", "HW-PRN-005", "S2", True),
    "head_hot": Bad("degraded", "online", "HW-PRN-007", "S3", False),
    "unrecoverable": Bad("failed", "online", "HW-PRN-006", "S1", True),
    "silent": Bad("failed", "offline", "HW-PRN-001", "S2", True),
    "stalled": Bad("failed", "offline", "HW-PRN-001", "S2", True),
    "garbage": Bad("unknown", "unknown", "HW-PRN-008", "S2", True),
    "unplugged": Bad("failed", "off", "HW-PRN-001", "S2", True),
}
DEVICES = ("printer-0", "printer-1", "printer-2")
LATCHED = {"cutter_error", "mechanical_error"}  # they stay until DLE ENQ: only a power cycle ends them here


class Shop(NamedTuple):
    broker: Broker
    terminal: Terminal
    printers: list[PrinterProcess]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    printers = [PrinterProcess(folder, f"p{number}") for number in range(3)]
    config = {
        "terminal": {"site": SITE, "terminal": TERMINAL, "serial": "SN123", "model": "counter"},
        "devices": {f"printer-{number}": {"port": str(printer.port)} for number, printer in enumerate(printers)},
    }
    try:
        with Broker(folder) as broker:
            terminal = Terminal(folder, broker.port, config, policy=orders.signed_policy(), models=MODELS)
            asyncio.run(eventually(lambda: all(printer.is_up() for printer in printers), what="the emulators"))
            with terminal.agent:
                asyncio.run(online(broker))
                yield Shop(broker, terminal, printers)
    finally:
        for printer in printers:
            printer.close()


async def _healthy(shop: Shop, device: str = "printer-0") -> dict[str, Any]:
    health: dict[str, Any] = await until(shop.broker, f"dev/{device}/health", lambda one: one["state"] == "ok")
    await until(shop.broker, "agent/readiness", lambda one: one["ready"])
    return health


def _codes(faults: dict[str, Any], device: str) -> dict[str, dict[str, Any]]:
    return {one["code"]: one for one in faults["faults"] if one["device"] == device}


@pytest.mark.parametrize("condition", list(FAULTS))
async def test_each_fault_of_the_printer_shows_everywhere_and_goes_again(shop: Shop, condition: str) -> None:
    expected, printer = FAULTS[condition], shop.printers[0]
    before = await _healthy(shop)
    async with subscribe(shop.broker, EVERYTHING) as watcher:
        await watcher.collect(1, BASE + "dev/printer-0/health")
        printer.control.set(**{condition: True})
        health = await until(shop.broker, "dev/printer-0/health", lambda one: one["state"] == expected.state)
        faults = await until(shop.broker, "agent/faults", lambda one: expected.code in _codes(one, "printer-0"))
        ready = await until(shop.broker, "agent/readiness", lambda one: one["ready"] is not expected.stops)
        assert health["power_state"] == expected.power_state
        assert (health["device"], health["category"]) == ("printer-0", "pos_printer")
        assert RFC3339.fullmatch(health["since"])
        assert health["since"] > before["since"]
        fault = _codes(faults, "printer-0")[expected.code]
        assert (fault["severity"], fault["impact"] == "sale") == (expected.severity, expected.stops)
        assert [one["code"] for one in ready["reasons"]] == ([expected.code] if expected.stops else [])
        over_the_socket = shop.terminal.ask("health.get")
        assert expected.code in _codes(over_the_socket, "printer-0")
        assert shop.terminal.ask("readiness.get")["ready"] is not expected.stops
        printer.control.set(**{condition: False})
        if condition in LATCHED:  # the cause is gone, the printer still stands: so does the fault
            assert (await now(shop.broker, "dev/printer-0/health"))["state"] == "failed"
            printer.control.set(unplugged=True)
            printer.control.set(unplugged=False)
        await _healthy(shop)
        await until(shop.broker, "agent/faults", lambda one: not _codes(one, "printer-0"))
        events = [said(one) for one in matching(watcher.messages, "agent/e/fault")]
    told = [(one["data"]["active"], one["data"]["code"]) for one in events if one["subject"] == "printer-0"]
    assert (True, expected.code) in told
    assert (False, expected.code) in told


async def test_the_other_devices_are_not_disturbed_by_one_that_hangs(shop: Shop) -> None:
    await _healthy(shop)
    shop.printers[0].control.set(silent=True)
    try:
        await until(shop.broker, "dev/printer-0/health", lambda one: one["power_state"] == "offline")
        shop.printers[1].control.set(cover_open=True)
        await until(shop.broker, "dev/printer-1/health", lambda one: one["state"] == "failed")
        ready = await now(shop.broker, "agent/readiness")
        assert {one["code"] for one in ready["reasons"]} == {"HW-PRN-001"}, "a printer not required stops no sale"
    finally:
        shop.printers[0].control.set(silent=False)
        shop.printers[1].control.set(cover_open=False)
    await _healthy(shop, "printer-1")


async def test_without_a_sensor_nothing_reads_as_good_paper(shop: Shop) -> None:
    async with subscribe(shop.broker, BASE + "agent/m/#") as watcher:
        await watcher.collect(1, BASE + "agent/m/printer-1")
        await watcher.collect(1, BASE + "agent/m/printer-2")
        await watcher.collect(1, BASE + "agent/m/printer-0")
        values = {one.topic.rpartition("/")[2]: said(one)["values"] for one in watcher.messages}  # the latest
    papers = {
        device: (reading["paper"], reading["near_end"]) for device, reading in values.items() if device in DEVICES
    }
    assert papers["printer-0"] == ("present", 0)
    assert papers["printer-1"] == ("present", None), "not at its end; whether that is near, nobody can know"
    assert papers["printer-2"] == ("unknown", None)
    assert (values["printer-0"]["cover_open"], values["printer-2"]["cover_open"]) == (0, None)


async def test_silence_of_a_model_that_may_have_no_answer_is_unknown_and_no_fault(shop: Shop) -> None:
    shop.printers[2].control.set(silent=True)
    try:
        health = await until(shop.broker, "dev/printer-2/health", lambda one: one["state"] == "unknown")
        assert health["power_state"] == "unknown"
        assert _codes(await now(shop.broker, "agent/faults"), "printer-2") == {}
        assert (await now(shop.broker, "agent/readiness"))["ready"] is True
    finally:
        shop.printers[2].control.set(silent=False)
    await _healthy(shop, "printer-2")


@pytest.mark.parametrize("condition", ["nothing", "paper_end"])
async def test_check_device_prints_one_slip_and_tells_the_truth(shop: Shop, condition: str) -> None:
    printer = shop.printers[0]
    await _healthy(shop)
    if condition != "nothing":
        printer.control.set(**{condition: True})
        await until(shop.broker, "dev/printer-0/health", lambda one: one["state"] == "failed")
    before = printer.counters()
    payload = orders.order_payload("check_device", {"device": "printer-0", "level": "external"})
    async with subscribe(shop.broker, EVERYTHING) as watcher:
        await order(watcher, payload)
        final = await outcome(watcher, "check_device", payload["command_id"], timeout_s=45.0)
        await order(watcher, payload)  # the same order again prints nothing again
        internal = orders.order_payload("check_device", {"device": "printer-0", "level": "internal"})
        await order(watcher, internal)
        checked = await outcome(watcher, "check_device", internal["command_id"])
    after = printer.counters()
    assert checked["state"] == "succeeded"
    assert after["queries"] > before["queries"]
    if condition == "nothing":
        assert after["slips"] == before["slips"] + 1
        assert (final["state"], final["result"]["state"]) == ("succeeded", "ok")
        assert any(line.strip() for line in printer.control.get().last_slip)
    else:
        assert after["slips"] == before["slips"]
        assert final["result"]["state"] == "failed"
        assert checked["result"]["state"] == "failed"
        printer.control.set(**{condition: False})
        await _healthy(shop)


async def test_health_stays_over_a_kill_and_changes_are_not_repeated(shop: Shop) -> None:
    shop.printers[1].control.set(cover_open=True)
    health = await until(shop.broker, "dev/printer-1/health", lambda one: one["state"] == "failed")
    fault = _codes(await until(shop.broker, "agent/faults", lambda one: _codes(one, "printer-1")), "printer-1")
    conn = (await now(shop.broker, "agent/status"))["conn"]
    await asyncio.to_thread(shop.terminal.agent.kill)
    async with subscribe(shop.broker, BASE + "dev/printer-1/health") as watcher:
        await asyncio.to_thread(shop.terminal.agent.start)
        await until(shop.broker, "agent/status", lambda one: one["conn"] > conn and one["online"])
        await watcher.collect(2)
        assert {(said(one)["state"], said(one)["since"]) for one in watcher.messages} == {("failed", health["since"])}
    assert _codes(await now(shop.broker, "agent/faults"), "printer-1") == fault
    shop.printers[1].control.set(cover_open=False)
    await _healthy(shop, "printer-1")
