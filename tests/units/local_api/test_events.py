"""events.subscribe: who is told what, in which order, and what it costs not to read."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from agent.contract.command import CommandState, State
from agent.contract.health import DeviceHealth, PowerState, Readiness
from agent.contract.health import State as DeviceState
from agent.local_api.events import Announcements, subscribing
from agent.local_api.limits import CONTROL_LIMITS
from agent.local_api.peer import PAYMENT, SUPPORT
from agent.local_api.server import CONTROL_RIGHTS
from agent.runtime.clock import SystemClock
from tests.kit.rpc_peer import BAD_PARAMS, RpcPeer, Served, serving, until
from tests.units.local_api.methods_for_tests import Recorder

AT = "2026-11-21T02:00:00.000Z"
READY = Readiness(True, (), AT)
STATE = CommandState("cmd-1", "reset", State.RUNNING, 3, 1, 2, None, None, AT, AT, Raw(b'{"found":1}'))


@dataclass
class Doors:
    """Both sockets, and what is announced at them."""

    payment: Served
    control: Served
    announcements: Announcements


@asynccontextmanager
async def doors(folder: Path, **changes: Any) -> AsyncIterator[Doors]:
    for name in ("payment", "control"):
        (folder / name).mkdir()
    announcements = Announcements(SystemClock())
    payment = {**Recorder().table(), "events.subscribe": subscribing(PAYMENT)}
    control = {**Recorder().table(SUPPORT), "events.subscribe": subscribing(SUPPORT)}
    at_control: dict[str, Any] = {"limits": CONTROL_LIMITS, "rights": CONTROL_RIGHTS, "right": SUPPORT}
    async with (
        serving(folder / "payment", payment, **changes) as first,
        serving(folder / "control", control, **at_control, **changes) as second,
    ):
        announcements.heard_at(payment=first.server, control=second.server)
        yield Doors(first, second, announcements)


async def notice(peer: RpcPeer) -> dict[str, Any]:
    """The next line, which is a notification; its params."""
    message = await peer.answer()
    assert set(message) == {"jsonrpc", "method", "params"}
    assert message["method"] == "event"
    params: dict[str, Any] = message["params"]
    assert set(params) == {"kind", "at", "data"}
    return params


async def test_a_subscriber_is_told_what_it_asked_for_and_nothing_else(tmp_path: Path) -> None:
    async with doors(tmp_path) as at, at.payment.connect() as peer:
        assert await peer.result("events.subscribe", {"kinds": ["readiness", "lock"]}) == {}
        health = DeviceHealth("printer-0", "pos_printer", DeviceState.OK, PowerState.ONLINE, "fine", AT, AT)
        at.announcements.health("health", health)
        at.announcements.health("readiness", READY)
        at.announcements.lock("stolen")
        at.announcements.lock(None)
        told = [await notice(peer) for _ in range(3)]
        assert [(one["kind"], one["data"]) for one in told] == [
            ("readiness", {"ready": True, "reasons": [], "at": AT}),
            ("lock", {"locked": True, "reason": "stolen"}),
            ("lock", {"locked": False, "reason": None}),
        ]


async def test_the_last_subscription_replaces_the_one_before_and_none_ends_it(tmp_path: Path) -> None:
    async with doors(tmp_path) as at, at.payment.connect() as peer:
        await peer.result("events.subscribe", {"kinds": ["readiness", "readiness"]})
        await peer.result("events.subscribe", {"kinds": ["lock"]})
        at.announcements.health("readiness", READY)
        at.announcements.lock("stolen")
        assert (await notice(peer))["kind"] == "lock"
        await peer.result("events.subscribe", {"kinds": []})
        at.announcements.lock(None)
        assert await peer.result("echo", {"n": 1}) == {"n": 1}
        assert not at.payment.server.is_heard("lock")
        assert not at.payment.server.is_heard("readiness")


async def test_payment_applications_see_exclusive_operations_only_and_no_results(tmp_path: Path) -> None:
    async with doors(tmp_path) as at, at.payment.connect() as shop, at.control.connect() as technician:
        for peer in (shop, technician):
            await peer.result("events.subscribe", {"kinds": ["operation"]})
        at.announcements.operation(STATE, False)
        at.announcements.operation(STATE, True)
        seen = [(await notice(technician))["data"] for _ in range(2)]
        assert [state["result"] for state in seen] == [{"found": 1}] * 2
        (state,) = [(await notice(shop))["data"]]
        assert (state["command_id"], state["state"], state["rev"], state["result"]) == ("cmd-1", "running", 3, None)
        assert len(state) == 11


async def test_answers_and_events_of_one_connection_do_not_mix_and_an_answer_does_not_wait(tmp_path: Path) -> None:
    async with doors(tmp_path) as at, at.payment.connect() as peer:
        await peer.result("events.subscribe", {"kinds": ["lock"]})
        for _ in range(50):
            at.announcements.lock("stolen")
        await peer.send_line({"jsonrpc": "2.0", "id": 7, "method": "echo", "params": {"n": 1}})
        lines = [await peer.answer() for _ in range(51)]
        assert sum("id" in line for line in lines) == 1
        assert sum(line.get("method") == "event" for line in lines) == 50


async def test_a_connection_that_ends_takes_its_subscription_with_it(tmp_path: Path) -> None:
    async with doors(tmp_path) as at:
        async with at.payment.connect() as peer:
            await peer.result("events.subscribe", {"kinds": ["lock"]})
            assert at.payment.server.is_heard("lock")
        await until("it to be gone", lambda: not at.payment.server.is_heard("lock"))
        at.announcements.lock("stolen")


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "kinds"),
        ({"kinds": "lock"}, "kinds"),
        ({"kinds": ["money"]}, "kinds[0]"),
        ({"kinds": [], "since": 1}, "(unknown)"),
        ({"kinds": ["lock"] * 17}, "kinds"),
    ],
)
async def test_a_subscription_of_wrong_form_changes_nothing(tmp_path: Path, params: dict[str, Any], field: str) -> None:
    async with doors(tmp_path) as at, at.payment.connect() as peer:
        await peer.result("events.subscribe", {"kinds": ["lock"]})
        error = await peer.error("events.subscribe", params)
        assert (error["code"], error["data"]["field"]) == (BAD_PARAMS, field)
        at.announcements.lock("stolen")
        assert (await notice(peer))["kind"] == "lock"


async def test_a_subscriber_that_does_not_read_is_cut_off_and_holds_nothing(tmp_path: Path) -> None:
    async with doors(tmp_path, stalled_s=60.0, waiting_bytes=100_000) as at, AsyncExitStack() as all_:
        deaf = await all_.enter_async_context(at.payment.connect())
        await deaf.result("events.subscribe", {"kinds": ["lock"]})
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport reads
        attentive = await all_.enter_async_context(at.payment.connect())
        await attentive.result("events.subscribe", {"kinds": ["lock"]})
        heard = 0
        while at.payment.server.connections > 1:
            for _ in range(20):
                at.announcements.lock("x" * 200)
            for _ in range(20):
                heard += (await notice(attentive))["kind"] == "lock"
            assert heard < 20_000, "the deaf one was never cut off"
        assert heard


async def test_a_subscriber_that_reads_nothing_for_its_time_is_cut_off(tmp_path: Path) -> None:
    async with doors(tmp_path, stalled_s=0.4) as at, at.payment.connect() as deaf:
        deaf.writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await deaf.result("events.subscribe", {"kinds": ["lock"]})
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(3_000):
            at.announcements.lock("x" * 200)
        await until("it to be cut off", lambda: at.payment.server.connections == 0)


async def test_many_subscribers_are_told_in_turns_between_which_others_are_answered(tmp_path: Path) -> None:
    async with doors(tmp_path) as at, AsyncExitStack() as all_:
        subscribers = [await all_.enter_async_context(at.payment.connect()) for _ in range(100)]
        for peer in subscribers:
            await peer.result("events.subscribe", {"kinds": ["lock"]})
        other = await all_.enter_async_context(at.payment.connect())
        await other.result("echo", {"n": 1})
        at.announcements.lock("stolen")
        assert await other.result("echo", {"n": 2}) == {"n": 2}
        assert [(await notice(peer))["kind"] for peer in subscribers] == ["lock"] * 100
