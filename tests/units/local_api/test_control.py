"""control.sock: what can be read, over a real journal, and orders on their way to whoever decides."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from agent.backup.copies import Backups
from agent.contract.command import CommandPage, CommandState, LocalOrder, State
from agent.contract.health import (
    DeviceHealth,
    HealthSnapshot,
    HistoryEntry,
    HistoryKind,
    HistoryPage,
    PowerState,
    Readiness,
    ReadinessReason,
)
from agent.contract.health import State as DeviceState
from agent.contract.rpc import ConfigResult
from agent.errors import Refused
from agent.local_api.control import ControlMethods, ControlSubjects
from agent.local_api.limits import CONTROL_LIMITS
from agent.local_api.peer import ALL_RIGHTS, SUPPORT, Caller
from agent.local_api.server import CONTROL_RIGHTS
from tests.kit.rpc_peer import BAD_PARAMS, NO_METHOD, OF_THE_AGENT, RpcPeer, Served, serving
from tests.kit.store_records import OpenJournal, open_journal, sale, settlement

AT = "2026-11-21T02:00:00.000Z"
PAN = "4111111111111111"
SNAPSHOT = HealthSnapshot(
    (DeviceHealth("printer-0", "pos_printer", DeviceState.FAILED, PowerState.ONLINE, "paper is out", AT, AT),),
    (),
    Readiness(False, (ReadinessReason("HW-PRN-002", "paper is out", AT),), AT),
    AT,
)


def accepted(order: LocalOrder) -> CommandState:
    return CommandState(
        order.command_id or "", order.name or "", State.ACCEPTED, 1, None, None, None, None, AT, AT, Raw(b"null")
    )


@dataclass
class Desk:
    """A whole control socket; ``orders`` is what reached the room that decides."""

    served: Served
    store: OpenJournal
    peer: RpcPeer
    orders: list[tuple[LocalOrder, Caller]] = field(default_factory=list)


@asynccontextmanager
async def desk(folder: Path, store: OpenJournal) -> AsyncIterator[Desk]:
    orders: list[tuple[LocalOrder, Caller]] = []

    async def order(order: LocalOrder, caller: Caller) -> CommandState:
        orders.append((order, caller))
        if order.name == "lock":
            raise Refused("not by hand", reason="NOT_AUTHORISED", hint="a signed order")
        return accepted(order)

    async def command(command_id: str) -> CommandState | None:
        return next((accepted(order) for order, _caller in orders if order.command_id == command_id), None)

    async def history(limit: int, cursor: str | None, device: str | None) -> HistoryPage:
        entry = HistoryEntry(at=AT, kind=HistoryKind.STATE, device=device or "printer-0", detail=f"{limit} {cursor}")
        return HistoryPage((entry,), None)

    async def commands(limit: int, cursor: str | None) -> CommandPage:
        return CommandPage(tuple(accepted(order) for order, _caller in orders[:limit]), cursor)

    async def info() -> dict[str, object]:
        return {"version": "0.1.0", "journal_entries": (await store.journal.verify()).upto_sequence}

    subjects = ControlSubjects(
        journal=store.journal,
        info=info,
        health=lambda: SNAPSHOT,
        history=history,
        backups=Backups((), store.database).page,
        order=order,
        command=command,
        commands=commands,
        config=lambda: ConfigResult("ab" * 32),
        metrics=lambda: {"store": {"commits": 3}},
    )
    methods = ControlMethods(subjects).table()
    server = serving(folder, methods, limits=CONTROL_LIMITS, rights=CONTROL_RIGHTS, right=SUPPORT)
    async with server as served, served.connect() as peer:
        yield Desk(served, store, peer, orders)


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_journal(tmp_path) as store, desk(tmp_path, store) as opened:
        yield opened


async def test_what_the_terminal_says_of_itself(at: Desk) -> None:
    await at.store.store(sale())
    assert await at.peer.result("agent.info") == {"version": "0.1.0", "journal_entries": 1}
    health = await at.peer.result("health.get")
    assert [device["state"] for device in health["devices"]] == ["failed"]
    assert health["faults"] == []
    readiness = await at.peer.result("readiness.get")
    assert (readiness["ready"], readiness["reasons"][0]["code"]) == (False, "HW-PRN-002")
    assert await at.peer.result("config.get") == {"digest": "ab" * 32, "version": None}
    assert await at.peer.result("metrics.get") == {"store": {"commits": 3}}


async def test_the_journal_is_listed_page_by_page_and_by_filters(at: Desk) -> None:
    for number in range(7):
        await at.store.store(sale(stan=f"{number:06d}"))
    seen, cursor, pages = [], None, 0
    while True:
        page = await at.peer.result("transaction.list", {"limit": 3, **({"cursor": cursor} if cursor else {})})
        seen += [item["seq"] for item in page["items"]]
        pages += 1
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert (seen, pages) == ([1, 2, 3, 4, 5, 6, 7], 3)
    newest = await at.peer.result("transaction.list", {"newest_first": True, "limit": 1})
    assert newest["items"][0]["seq"] == 7
    assert set(newest["items"][0]) == {"seq", "at", "record", "hash"}
    found = await at.peer.result("transaction.list", {"stan": "000004"})
    assert [item["record"]["stan"] for item in found["items"]] == ["000004"]


async def test_sums_and_the_chain(at: Desk) -> None:
    await at.store.store(sale())
    await at.store.store(settlement())
    summary = await at.peer.result("transaction.summary")
    assert ("sale", 1, 12800) in [(item["type"], item["count"], item["sum_minor"]) for item in summary["items"]]
    assert await at.peer.result("journal.verify") == {"intact": True, "upto_sequence": 2, "missing": []}


async def test_an_order_is_answered_with_its_state_at_once(at: Desk) -> None:
    order = {"command_id": "cmd-0001", "name": "ping", "arguments": {}, "reason": "ticket 4711"}
    state = await at.peer.result("command.run", order)
    assert set(state) == {
        *("command_id", "name", "state", "rev", "step", "steps", "progress", "reason"),
        *("accepted_at", "updated_at", "result"),
    }
    assert (state["command_id"], state["state"]) == ("cmd-0001", "accepted")
    ((taken, caller),) = at.orders
    assert taken == LocalOrder("cmd-0001", "ping", {}, "ticket 4711")
    assert caller.rights == ALL_RIGHTS
    assert await at.peer.result("command.get", {"command_id": "cmd-0001"}) == state
    assert (await at.peer.result("command.list", {"limit": 5}))["items"] == [state]
    assert (await at.peer.error("command.get", {"command_id": "other"}))["data"]["code"] == "NOT_FOUND"


async def test_a_signed_order_is_carried_in_whole(at: Desk) -> None:
    envelope = {"payload": "e30=", "payloadType": "x", "signatures": [{"keyid": "ab", "sig": "4111111111111111"}]}
    await at.peer.result("command.run", {"envelope": envelope})
    assert at.orders[0][0] == LocalOrder(envelope=envelope)  # type: ignore[arg-type]  # JSON of any form


async def test_numbers_of_arguments_arrive_as_they_were(at: Desk) -> None:
    params = b'{"command_id":"c1","name":"configure","arguments":%b}'
    frame = b'{"jsonrpc":"2.0","id":1,"method":"command.run","params":' + params + b"}\n"
    await at.peer.ask(frame % b'{"a":1.50,"b":[2e1],"c":{"d":-3}}')
    assert at.orders[0][0].arguments == {"a": 1.5, "b": [20.0], "c": {"d": -3}}
    answer = await at.peer.ask(frame % b'{"a":1e999}')
    assert answer["error"]["data"]["field"] == "arguments"


async def test_an_identifier_among_the_arguments_is_no_card_number(at: Desk) -> None:
    looks_alike = "01a1fd36-2a53-76ea-8156-827253425584"  # 8156827253425584 by rule R4 alone
    order = {"command_id": looks_alike, "name": "cancel", "arguments": {"command_id": looks_alike}}
    assert (await at.peer.result("command.run", order))["command_id"] == looks_alike
    order["arguments"] = {"command_id": "41111111-1111-1111-4111-111111111111"}  # a number in disguise
    assert (await at.peer.error("command.run", order))["data"]["code"] == "CARD_DATA_REJECTED"
    error = await at.peer.error("transaction.list", {"transaction_id": looks_alike, "limit": 0})
    assert (error["data"]["code"], error["data"]["field"]) == ("BAD_PARAMS", "limit")


async def test_a_refusal_keeps_its_reason(at: Desk) -> None:
    error = await at.peer.error("command.run", {"command_id": "c1", "name": "lock"})
    assert (error["code"], error["data"]["code"], error["data"]["hint"]) == (
        *(OF_THE_AGENT, "NOT_AUTHORISED", "a signed order"),
    )


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "command_id"),
        ({"command_id": "c1"}, "name"),
        ({"name": "ping"}, "command_id"),
        ({"command_id": "c 1", "name": "ping"}, "command_id"),
        ({"command_id": "c1", "name": "Ping!"}, "name"),
        ({"command_id": "c1", "name": "ping", "arguments": []}, "arguments"),
        ({"command_id": "c1", "name": "ping", "reason": "x" * 257}, "reason"),
        ({"command_id": "c1", "name": "ping", "shell": "rm"}, "(unknown)"),
        ({"envelope": {}, "name": "ping"}, "name"),
        ({"envelope": "text"}, "envelope"),
    ],
)
async def test_an_order_of_wrong_form_is_bad_params(at: Desk, params: dict[str, object], field: str) -> None:
    error = await at.peer.error("command.run", params)
    assert (error["code"], error["data"]["code"], error["data"]["field"]) == (BAD_PARAMS, "BAD_PARAMS", field)
    assert at.orders == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"command_id": PAN}, "command_id"),
        ({"reason": f"customer {PAN}"}, "reason"),
        ({"arguments": {"device": PAN}}, "arguments"),
        ({"arguments": {"deep": [{"pan": 1}]}}, "arguments"),
        ({"arguments": {"n": int(PAN)}}, "arguments"),
        ({"name": PAN}, "name"),
        ({"note": PAN}, "(unknown)"),
    ],
)
async def test_an_order_holds_no_card_data(at: Desk, change: dict[str, object], field: str) -> None:
    answer = await at.peer.call("command.run", {"command_id": "c1", "name": "ping", **change})
    data = answer["error"]["data"]
    assert (data["code"], data["field"]) == ("CARD_DATA_REJECTED", field)
    assert PAN not in json.dumps(answer)
    assert at.orders == []
    assert at.served.card_data == [data["rule"]]


@pytest.mark.parametrize(
    ("method", "params", "field"),
    [
        ("transaction.list", {"limit": 0}, "limit"),
        ("transaction.list", {"limit": 1001}, "limit"),
        ("transaction.list", {"limit": "5"}, "limit"),
        ("transaction.list", {"cursor": "x"}, "cursor"),
        ("transaction.list", {"stan": "1"}, "stan"),
        ("transaction.list", {"unheard_of": 1}, "(unknown)"),
        ("transaction.summary", {"limit": -1}, "limit"),
        ("command.list", {"limit": 0}, "limit"),
        ("command.get", {}, "command_id"),
        ("health.get", {"more": 1}, "(unknown)"),
        ("agent.info", {"more": 1}, "(unknown)"),
        ("journal.verify", {"more": 1}, "(unknown)"),
    ],
)
async def test_wrong_parameters_are_named(at: Desk, method: str, params: dict[str, Any], field: str) -> None:
    error = await at.peer.error(method, params)
    assert (error["code"], error["data"]["field"]) == (BAD_PARAMS, field)


async def test_methods_of_the_other_socket_are_unknown_here(at: Desk) -> None:
    for method in ("transaction.record", "transaction.record_many", "sale.begin", "app.status"):
        assert (await at.peer.error(method, sale()))["code"] == NO_METHOD


async def test_a_check_and_a_cancel_are_orders_with_ids_of_their_own_on_the_way_of_all_others(at: Desk) -> None:
    state = await at.peer.result("health.check", {"device": "printer-0", "level": "external"})
    again = await at.peer.result("health.check", {"device": "printer-0", "level": "internal"})
    await at.peer.result("command.cancel", {"command_id": state["command_id"]})
    ids = [order.command_id for order, _caller in at.orders]
    assert ids == [state["command_id"], again["command_id"], ids[2]]
    assert ids == sorted(set(ids), key=ids.index)
    assert [uuid.UUID(str(one)).version for one in ids] == [7, 7, 7]
    assert [(order.name, order.arguments) for order, _caller in at.orders] == [
        ("check_device", {"device": "printer-0", "level": "external"}),
        ("check_device", {"device": "printer-0", "level": "internal"}),
        ("cancel", {"command_id": state["command_id"]}),
    ]
    assert all(caller.pid == os.getpid() for _order, caller in at.orders)  # who may is decided there


@pytest.mark.parametrize(
    ("method", "params", "field"),
    [
        ("health.check", {"device": "printer-0", "level": "interactive"}, "level"),
        ("health.check", {"device": "no such thing", "level": "internal"}, "device"),
        ("health.check", {"device": "printer-0"}, "level"),
        ("command.cancel", {}, "command_id"),
        ("command.cancel", {"command_id": "?"}, "command_id"),
        ("health.history", {"limit": 0}, "limit"),
        ("health.history", {"device": "no such thing"}, "device"),
    ],
)
async def test_what_is_no_check_cancel_or_history_reaches_nobody(
    at: Desk, method: str, params: dict[str, Any], field: str
) -> None:
    error = await at.peer.error(method, params)
    assert (error["code"], error["data"]["field"]) == (BAD_PARAMS, field)
    assert at.orders == []


async def test_the_history_of_health_is_asked_for_by_page_and_device(at: Desk) -> None:
    page = await at.peer.result("health.history", {"device": "printer-1", "limit": 7, "cursor": "12"})
    assert (page["items"][0]["device"], page["items"][0]["detail"]) == ("printer-1", "7 12")
    assert (await at.peer.result("health.history"))["items"][0]["detail"] == "50 None"
