"""The broker's side by the contract's words: forms of topics, Will, own truth on every connection."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.kit import orders
from tests.kit.agent_process import call
from tests.kit.broker import Broker, Seen, Watcher, eventually, free_port, subscribe
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
    settled,
    until,
    uplink,
)
from tests.kit.fault_broker import FaultBroker
from tests.kit.fault_broker import Faults as BrokerFaults
from tests.kit.store_records import sale

MODEL = """
schema = 1
title = "A printer that nobody has plugged in anywhere"
[devices.printer-0]
category = "pos_printer"
driver = "escpos"
sensors = ["near_end", "paper_end", "cover"]
answers = true
required = true
"""
CONFIG = {"terminal": {"site": SITE, "terminal": TERMINAL, "serial": "SN123", "model": "mute"}}
RETAINED_FORMS = {
    "agent/status": {"online", "conn", "boot_id", "journal_id", "at"},
    "agent/readiness": {"ready", "reasons", "at"},
    "agent/faults": {"faults", "at"},
    "dev/printer-0/health": {"device", "category", "state", "power_state", "detail", "since", "at"},
}
TRUTH = (*RETAINED_FORMS, "agent/birth", "agent/cfg")


def _terminal(folder: Path, port: int, **config: Any) -> Terminal:
    return Terminal(folder, port, {**CONFIG, **config}, policy=orders.signed_policy(), models={"mute": MODEL})


def _has(messages: list[Seen], *below: str) -> bool:
    return {BASE + one for one in below} <= {message.topic for message in messages}


def _statuses(watcher: Watcher) -> list[tuple[bool, int]]:
    values = [json.loads(payload) for payload in watcher.on(BASE + "agent/status")]
    return [(value["online"], value["conn"]) for value in values]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Terminal]:
    one = _terminal(tmp_path_factory.mktemp("terminal"), broker.port)
    with one.agent:
        asyncio.run(online(broker))
        yield one


async def test_every_topic_has_its_form_its_qos_and_its_flag(broker: Broker, terminal: Terminal) -> None:
    groups = [f"agent/m/{name}" for name in ("host", "store", "agent")]
    async with subscribe(broker, EVERYTHING) as watcher:
        await settled(watcher)
        seen = await watcher.until(lambda all_: _has(all_, *TRUTH, *groups))
    for below, fields in RETAINED_FORMS.items():
        for message in matching(seen, below):
            assert set(said(message)) == fields, below
            assert (message.qos, message.retained) == (1, True), below
    for message in seen:
        below = message.topic.removeprefix(BASE)
        assert message.topic.startswith(BASE)
        assert message.topic.count("/") <= 7
        json.loads(message.payload)
        kind = below.split("/")[1]
        if below.startswith("agent/m/"):
            assert (message.qos, message.retained) == (0, False), below
        elif below.startswith("in/") or kind == "e":
            assert (message.qos, message.retained) == (1, False), below
        else:
            assert (message.qos, message.retained) == (1, True), below


async def test_what_the_retained_messages_say(broker: Broker, terminal: Terminal) -> None:
    status, birth, config = [await now(broker, f"agent/{name}") for name in ("status", "birth", "cfg")]
    assert status["online"] is True
    assert str(uuid.UUID(status["journal_id"])) == status["journal_id"]
    assert RFC3339.fullmatch(status["at"])
    assert status["conn"] == birth["conn"]
    assert status["conn"] >> 20 == 1
    for name, value in CONFIG["terminal"].items():
        assert birth[name] == value
    assert birth["bindings"] == [{"provider": "acquirer-a", "mid": "104110058120001", "tid": "00010001"}]
    copying = {"backup", "verify_backup"}
    assert set(birth["commands"]) == {"ping", "rebirth", "check_device", "cancel", "reset", "reinit", *copying}
    assert {"version", "capabilities", "schemas", "boot_id", "journal_id"} <= birth.keys()
    assert set(config) == {"version", "digest"}
    assert config["digest"] == terminal.ask("config.get")["digest"]
    health = await now(broker, "dev/printer-0/health")
    assert (health["device"], health["category"]) == ("printer-0", "pos_printer")
    assert (health["state"], health["power_state"]) == ("unknown", "unknown"), "no port is configured for it"
    ready = await now(broker, "agent/readiness")
    assert ready["ready"] is False, "a device that the model requires is unknown"
    assert all(set(reason) == {"code", "text", "since"} for reason in ready["reasons"])


async def _waiting_order(watcher: Watcher) -> str:
    """An order whose window is hours away: it stays open."""
    later = datetime.now().astimezone() + timedelta(hours=3)
    window = {"from": f"{later:%H:%M}", "to": f"{later + timedelta(hours=1):%H:%M}"}
    return await order(watcher, orders.order_payload(window=window, lifetime=timedelta(hours=12)))


async def test_a_broker_that_forgot_everything_is_told_the_whole_truth_again(
    broker: Broker, terminal: Terminal
) -> None:
    async with subscribe(broker, EVERYTHING) as watcher:
        open_id = await _waiting_order(watcher)
        waiting = f"agent/op/ping/{open_id}"
        state = await until(broker, waiting, lambda one: one["state"] == "waiting")
        ended = orders.order_payload()
        await order(watcher, ended)
        await outcome(watcher, "ping", ended["command_id"])
    before = {below: await now(broker, below) for below in TRUTH}
    await asyncio.to_thread(broker.kill)
    broker.forget()
    await asyncio.to_thread(broker.start)
    async with subscribe(broker, EVERYTHING) as watcher:
        seen = await watcher.until(lambda all_: _has(all_, *TRUTH, waiting))
    after = {below: said(matching(seen, below)[-1]) for below in TRUTH}
    assert said(matching(seen, waiting)[-1]) == state, "the same rev, the same everything"
    assert after["agent/status"]["conn"] > before["agent/status"]["conn"]
    assert after["agent/status"]["journal_id"] == before["agent/status"]["journal_id"]
    assert after["agent/cfg"] == before["agent/cfg"]
    moving = {"at", "conn"}
    for below in ("dev/printer-0/health", "agent/readiness", "agent/birth"):
        kept = {key: value for key, value in before[below].items() if key not in moving}
        assert {key: value for key, value in after[below].items() if key not in moving} == kept, below
    assert all(message.retained for below in TRUTH for message in matching(seen, below))
    async with subscribe(broker, EVERYTHING) as watcher:  # and it takes orders again, in its new session
        await settled(watcher)


async def test_a_late_will_is_corrected(broker: Broker, terminal: Terminal) -> None:
    status = await now(broker, "agent/status")
    async with subscribe(broker, BASE + "agent/status") as watcher:
        await watcher.collect(1)
        will = {**status, "online": False, "conn": status["conn"] - 1}
        await watcher.publish(BASE + "agent/status", json.dumps(will).encode(), retain=True)
        await watcher.collect(3)
        assert _statuses(watcher)[1:] == [(False, status["conn"] - 1), (True, status["conn"])]
    assert (await now(broker, "agent/status"))["online"] is True


async def test_conn_grows_with_every_connection_and_every_start(broker: Broker, terminal: Terminal) -> None:
    async with subscribe(broker, BASE + "agent/status") as watcher:
        await watcher.collect(1)
        assert await asyncio.to_thread(terminal.agent.stop) == 0
        await watcher.collect(2)
        (_, last), (online, conn) = _statuses(watcher)
        assert (online, conn) == (False, last), "an orderly stop says so at once, with its own conn"
        await asyncio.to_thread(terminal.agent.start)
        await watcher.collect(3)
        online, next_conn = _statuses(watcher)[-1]
        assert online
        assert next_conn >> 20 == (conn >> 20) + 1
    first = next_conn
    for _ in range(2):
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(broker.start)
        status = await until(broker, "agent/status", lambda one, before=first: one["conn"] > before)
        assert status["online"]
        assert status["conn"] >> 20 == first >> 20, "the same start"
        first = status["conn"]


async def test_open_orders_and_health_are_the_same_after_a_kill(broker: Broker, terminal: Terminal) -> None:
    async with subscribe(broker, EVERYTHING) as watcher:
        open_id = await _waiting_order(watcher)
        await until(broker, f"agent/op/ping/{open_id}", lambda one: one["state"] == "waiting")
    health = await now(broker, "dev/printer-0/health")
    conn = (await now(broker, "agent/status"))["conn"]
    await asyncio.to_thread(terminal.agent.kill)
    await asyncio.to_thread(terminal.agent.start)
    await until(broker, "agent/status", lambda one: one["conn"] > conn and one["online"])
    state = await now(broker, f"agent/op/ping/{open_id}")
    assert state["state"] in {"accepted", "waiting"}
    assert (await now(broker, "dev/printer-0/health"))["since"] == health["since"], "never a default"
    faults = await now(broker, "agent/faults")
    assert "SW-AGT-001" in {one["code"] for one in faults["faults"]}, "it was cut off, and says so"
    for fault in faults["faults"]:
        assert set(fault) == {"code", "device", "severity", "impact", "since", "detail"}


async def test_orders_sent_while_both_were_down_are_done_once(broker: Broker, terminal: Terminal) -> None:
    done, fresh = orders.order_payload(), orders.order_payload()
    async with subscribe(broker, EVERYTHING) as watcher:
        await order(watcher, done)
        first = await outcome(watcher, "ping", done["command_id"])
    rows = terminal.rows()
    await asyncio.to_thread(terminal.agent.kill)
    async with subscribe(broker) as sender:
        for payload in (done, fresh, fresh):
            await order(sender, payload)
    await asyncio.to_thread(broker.restart)
    async with subscribe(broker, EVERYTHING) as watcher:
        await asyncio.to_thread(terminal.agent.start)
        assert (await outcome(watcher, "ping", fresh["command_id"]))["state"] == "succeeded"
        await settled(watcher)
        states = [said(one) for one in matching(watcher.messages, f"agent/op/ping/{done['command_id']}")]
    assert states
    assert all(state == first for state in states)
    assert terminal.rows() == rows + 2


async def test_the_will_comes_after_its_delay_with_the_same_conn(broker: Broker, terminal: Terminal) -> None:
    async with subscribe(broker, BASE + "agent/status") as watcher:
        await watcher.collect(1)
        online, conn = _statuses(watcher)[-1]
        assert online
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(terminal.agent.kill)
        killed_s = loop.time()
        await watcher.collect(2, timeout_s=25.0)
        assert 9.0 < loop.time() - killed_s < 20.0
        assert _statuses(watcher)[-1] == (False, conn)
        assert watcher.messages[-1].retained
        assert watcher.messages[-1].qos == 1
    assert set(await now(broker, "agent/status")) == RETAINED_FORMS["agent/status"]


async def test_it_speaks_3_1_1_where_the_configuration_says_so(tmp_path: Path) -> None:
    one = _terminal(tmp_path, 0)
    with Broker(tmp_path) as broker:
        one.agent.write_config({**CONFIG, "uplink": uplink(broker.port, protocol="3.1.1")})
        async with subscribe(broker, EVERYTHING) as watcher:
            await watcher.publish(f"{BASE}in/req/ping", orders.signed_order(), retain=True)  # before its first start
            with one.agent:
                await watcher.until(lambda seen: _has(seen, *TRUTH))
                await settled(watcher)
                assert one.rows() == 1, "a retained order is refused here too"
                _, conn = _statuses(watcher)[-1]
                one.agent.kill()
                await watcher.until(lambda _: _statuses(watcher)[-1] == (False, conn))
            assert f" as {TERMINAL} (p2, c0" in broker.log(), "version 3.1.1, and a session that persists"


async def test_it_starts_records_and_connects_later_without_a_broker(tmp_path: Path) -> None:
    one = _terminal(tmp_path, free_port())
    one.agent.start()
    try:
        assert call(one.payment, "transaction.record", _sale("000001"))["result"]["sequence"] == 1
        faults = await _fault(one, "NET-MQT-001")
        assert faults["device"] == "uplink"
        async with FaultBroker(BrokerFaults(no_connack=True), port=one.port) as silent:
            await eventually(lambda: bool(silent.connects), what="a CONNECT")
            assert call(one.payment, "transaction.record", _sale("000002"))["result"]["sequence"] == 2
            silent.drop()
        with Broker(tmp_path, port=one.port) as broker:
            assert (await until(broker, "agent/status", lambda said_: said_["online"]))["conn"] > 1 << 20
            async with subscribe(broker, EVERYTHING) as watcher:
                await settled(watcher)
    finally:
        one.agent.close()


async def _fault(terminal: Terminal, code: str) -> dict[str, Any]:
    """An active fault, by the control socket."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = [one for one in terminal.ask("health.get")["faults"] if one["code"] == code]
        return bool(found)

    await eventually(there, what=code)
    return found[0]


def _sale(stan: str) -> dict[str, Any]:
    return sale(mid="104110058120001", tid="00010001", stan=stan)
