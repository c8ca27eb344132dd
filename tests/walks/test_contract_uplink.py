"""The whole agent under a broker that dies, forgets, kicks, swallows or refuses: it comes back by itself."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from agent.contract.publication import Publication
from agent.runtime.clock import SystemClock
from agent.store import outbox
from agent.store.database import Database, Worth
from tests.kit import orders
from tests.kit.broker import Broker, Seen, eventually, subscribe
from tests.kit.contract_walk import (
    BASE,
    EVERYTHING,
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
from tests.kit.swallowing_proxy import SwallowingProxy

ROWS = 600
TRUTH = {f"agent/{name}" for name in ("status", "birth", "readiness", "faults", "cfg")}


def _terminal(folder: Path, port: int, **changes: Any) -> Terminal:
    return Terminal(folder, port, {"uplink": uplink(port, **changes)}, policy=orders.signed_policy())


async def _queue(state: Path, publications: list[Publication]) -> None:
    """Put messages into the outbox of an agent that does not run."""
    await asyncio.to_thread(state.mkdir, parents=True, exist_ok=True)
    clock = SystemClock()
    database = Database(state / "agent.db", clock)
    database.open()
    try:
        await database.write(lambda db: [outbox.put(db, one, clock.now()) for one in publications], worth=Worth.OUTBOX)
    finally:
        await database.close()


def _arrived(broker: Broker) -> set[str]:
    """Last levels of the events that the broker has received, by its own log, which outlives its deaths."""
    return set(re.findall(r"Received PUBLISH from \S+ \([^)]*'[^']*/agent/e/(n\d+)'", broker.log()))


async def _drained(terminal: Terminal) -> None:
    await eventually(
        lambda: terminal.query("SELECT count(*) FROM outbox")[0][0] == 0, timeout_s=30.0, what="an empty outbox"
    )


async def test_no_queued_message_is_lost_while_the_broker_is_killed_and_forgets(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    one = _terminal(tmp_path, broker.port)
    await _queue(one.agent.state, [Publication(f"agent/e/n{number:04d}", b"{}") for number in range(ROWS)])
    with one.agent:
        for share, forget in ((0, False), (ROWS // 8, True), (ROWS // 4, False)):
            await asyncio.to_thread(broker.start)
            await eventually(
                lambda share=share: len(_arrived(broker)) > share,  # type: ignore[misc]
                what="some of them",
            )
            await asyncio.to_thread(broker.kill)
            if forget:
                broker.forget()
        with broker:
            await _drained(one)
            assert _arrived(broker) == {f"n{number:04d}" for number in range(ROWS)}
            async with subscribe(broker, EVERYTHING) as watcher:
                await watcher.until(_whole)
                await settled(watcher)


async def test_two_agents_of_one_name_do_not_fight_in_a_tight_loop(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        settings = {"backoff_first_s": 0.1, "backoff_limit_s": 30.0}
        first, second = (_terminal(tmp_path / name, broker.port, **settings) for name in ("a", "b"))
        first.agent.start()
        second.agent.start()
        try:

            def longest_wait_s(one: Terminal) -> float:
                waits = [
                    json.loads(line).get("retry_s") for line in one.agent.log().splitlines() if "uplink.waits" in line
                ]
                return max((wait for wait in waits if wait is not None), default=0.0)

            # A link that is taken over at once never counts as good: the bound doubles with every kick.
            await eventually(
                lambda: min(longest_wait_s(first), longest_wait_s(second)) > 0.4, timeout_s=60.0, what="longer waits"
            )
            kicks = broker.log().count("already connected, closing old connection")
            assert kicks < 40
            assert await asyncio.to_thread(second.agent.stop) == 0
            async with subscribe(broker, EVERYTHING) as watcher:
                await online(broker)
                await settled(watcher)
        finally:
            first.agent.close()
            second.agent.close()


async def test_a_link_that_swallows_everything_is_given_up_and_nothing_durable_is_lost(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        async with SwallowingProxy(broker.port) as proxy, subscribe(broker, EVERYTHING) as watcher:
            one = _terminal(tmp_path, proxy.port, keepalive_s=5)
            with one.agent:
                await online(broker)
                await settled(watcher)
                conn = (await now(broker, "agent/status"))["conn"]
                proxy.swallow()
                waiting = await order(watcher, orders.order_payload())  # the broker hands it to a link that is dead
                state = one.run(command_id="local-0001", name="ping", arguments={}, reason="no link")
                assert "result" in state, state
                status = await until(
                    broker, "agent/status", lambda status: status["online"] and status["conn"] > conn, timeout_s=40.0
                )
                assert status["conn"] > conn
                assert proxy.swallowed_bytes > 0
                assert (await outcome(watcher, "ping", waiting))["state"] == "succeeded"
                assert (await outcome(watcher, "ping", "local-0001"))["state"] == "succeeded"
                await _drained(one)


async def test_what_the_broker_refuses_is_kept_and_holds_up_nothing_else(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    backend = "user backend\ntopic readwrite #\n"
    orders_only = "pattern read pos/v1/+/%c/in/#\npattern write pos/v1/+/%c/agent/op/#\n"
    acl.write_text(backend + orders_only + "pattern readwrite pos/v1/+/%c/agent/status\n")
    acl.chmod(0o600)
    one = _terminal(tmp_path, 0)
    await _queue(one.agent.state, [Publication("agent/e/n1", b"{}")])
    with Broker(tmp_path, config=f"acl_file {acl}") as broker:
        one.agent.write_config({"uplink": uplink(broker.port)})
        with one.agent:
            async with subscribe(broker, EVERYTHING, username="backend") as watcher:
                await watcher.until(lambda seen: bool(matching(seen, "agent/status")))
                await settled(watcher)
                await settled(watcher)
                told = {message.topic.removeprefix(BASE) for message in watcher.messages}
                assert all(below.startswith(("agent/status", "agent/op/", "in/")) for below in told), told
            assert one.query("SELECT count(*) FROM outbox WHERE below = 'agent/e/n1'") == [(1,)]
            assert "truth.refused" in one.agent.log()
            acl.write_text(backend + "pattern readwrite pos/v1/+/%c/#\n")  # somebody mends it
            await asyncio.to_thread(broker.restart)
            async with subscribe(broker, EVERYTHING, username="backend") as watcher:
                await watcher.until(_whole)
                await watcher.until(lambda seen: bool(matching(seen, "agent/e/n1")), timeout_s=40.0)


async def test_packets_too_large_for_this_broker_are_kept_and_the_others_pass(tmp_path: Path) -> None:
    one = _terminal(tmp_path, 0)
    small, large, beyond = (
        Publication(f"agent/e/n{number}", b"x" * size) for number, size in ((1, 9), (2, 9000), (3, 70_000))
    )
    await _queue(one.agent.state, [large, beyond, small])
    with Broker(tmp_path, config="max_packet_size 4000\nmax_inflight_messages 1") as broker:
        one.agent.write_config({"uplink": uplink(broker.port)})
        async with subscribe(broker, EVERYTHING) as watcher:
            with one.agent:
                await watcher.until(lambda seen: bool(matching(seen, "agent/e/n1")))
                [event] = matching(
                    await watcher.until(lambda seen: bool(matching(seen, "agent/e/unsendable"))), "agent/e/unsendable"
                )
                assert said(event)["data"]["topic"] == "agent/e/n3"
                await settled(watcher)
                waiting = {below for (below,) in one.query("SELECT below FROM outbox")}
                assert "agent/e/n2" in waiting
                assert not matching(watcher.messages, "agent/e/n2")
            assert broker.sessions(TERMINAL) == 1, "no message cost the link"


async def test_a_flood_that_nobody_signed_holds_up_no_order(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        one = _terminal(tmp_path, broker.port)
        with one.agent:
            async with subscribe(broker, EVERYTHING) as watcher:
                await online(broker)
                await settled(watcher)
                forged = orders.signed_order(orders.order_payload(), (orders.STRANGER,))
                poison = [forged, b"", b"\x00" * 30, b"{" * 3000, b"[]", b'{"payload": 1}']
                for number in range(1500):
                    await watcher.publish(f"{BASE}in/req/ping", poison[number % len(poison)], qos=number % 2)
                good = await order(watcher, orders.order_payload())
                assert (await outcome(watcher, "ping", good, timeout_s=60.0))["state"] == "succeeded"
                assert one.rows() == 2
                topics = {message.topic for message in watcher.messages if "/agent/op/" in message.topic}
                assert len(topics) == 2
            assert broker.sessions(TERMINAL) == 1


async def test_over_3_1_1_nothing_durable_is_lost_and_no_order_runs_twice(tmp_path: Path) -> None:
    """No Retain As Published there: a retained order looks like any other while it is new, and only then."""
    with Broker(tmp_path) as broker:
        one = _terminal(tmp_path, broker.port, protocol="3.1.1")
        await _queue(one.agent.state, [Publication(f"agent/e/n{number}", b"{}") for number in range(50)])
        one.agent.start()
        try:
            async with subscribe(broker, EVERYTHING) as watcher:
                await online(broker)
                kept = orders.order_payload()
                await watcher.publish(f"{BASE}in/req/ping", orders.signed_order(kept), retain=True)
                state = await outcome(watcher, "ping", kept["command_id"])
                assert state["state"] == "succeeded"
                await _drained(one)
                assert len(_arrived(broker)) == 50
                rows, status = one.rows(), await now(broker, "agent/status")
                await asyncio.to_thread(one.agent.kill)
                # The Will has no delay here.
                await watcher.until(lambda seen: not said(matching(seen, "agent/status")[-1])["online"])
                fresh = await order(watcher, orders.order_payload())
            await asyncio.to_thread(broker.restart)
            await asyncio.to_thread(one.agent.start)
            async with subscribe(broker, EVERYTHING) as watcher:
                assert (await outcome(watcher, "ping", fresh))["state"] == "succeeded", "its session kept it"
                await settled(watcher)
                assert one.rows() == rows + 2, "the retained one came again, marked now, and was refused"
                again = matching(watcher.messages, f"agent/op/ping/{kept['command_id']}")
                assert {said(one)["rev"] for one in again} <= {state["rev"]}
            await asyncio.to_thread(broker.kill)
            broker.forget()
            await asyncio.to_thread(broker.start)
            async with subscribe(broker, EVERYTHING) as watcher:
                await watcher.until(_whole)
                assert said(matching(watcher.messages, "agent/status")[-1])["conn"] > status["conn"]
                await settled(watcher)
        finally:
            one.agent.close()


def _whole(seen: list[Seen]) -> bool:
    return {BASE + below for below in TRUTH} <= {message.topic for message in seen}
