"""The shipped client around a sale: leases, status, the terminal's state and events, against the real socket."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.contract.health import Readiness
from agent.contract.selling import AppStatus
from agent.local_api.events import Announcements, subscribing
from agent.local_api.peer import PAYMENT, Caller
from agent.local_api.sales import SaleMethods
from agent.local_api.server import Method
from agent.payment_app.client import (
    AgentSilent,
    Event,
    OperationRunning,
    PaymentClient,
    PaymentError,
    Status,
    TerminalLocked,
)
from agent.runtime.clock import SystemClock
from agent.selling.selling import Lock, Sales
from agent.workflow.roster import RunningOperation
from tests.kit.rpc_peer import Served, serving, until

AT = "2026-11-21T02:00:00.000Z"
PATIENT_S = 20.0


class Nobody:
    """A control socket that nobody listens at."""

    def is_heard(self, _kind: str) -> bool:
        return False

    def tell(self, _kind: str, _line: bytes) -> None:
        raise AssertionError


@dataclass
class Terminal:
    """What is behind the socket; it can be stopped and started again at the same place."""

    folder: Path
    operation: RunningOperation | None = None
    lock: Lock | None = None
    statuses: list[AppStatus] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.announcements = Announcements(SystemClock())

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Served]:
        """A fresh agent: what the one before knew of leases is gone."""
        self.sales = Sales(
            {},
            SystemClock(),
            report=lambda *_told: None,
            operation=lambda: self.operation,
            lock=lambda: self.lock,
        )
        table = {
            **SaleMethods(self.sales, lambda: Readiness(True, (), AT)).table(),
            "events.subscribe": subscribing(PAYMENT),
        }
        async with serving(self.folder, {name: self._seen(name, method) for name, method in table.items()}) as served:
            self.announcements.heard_at(payment=served.server, control=Nobody())
            yield served

    def _seen(self, name: str, method: Method) -> Method:
        def handle(params: Any, caller: Caller) -> Any:
            self.calls.append(name)
            if name == "app.status":
                self.statuses.append(AppStatus(**params))
            return method.handle(params, caller)

        return Method(handle, method.right, method.result, method.detached, method.subscribes)

    @property
    def in_sale(self) -> bool:
        return self.sales.facts().lease_left_s is not None


def client_at(terminal: Terminal, timeout_s: float = PATIENT_S) -> PaymentClient:
    return PaymentClient(terminal.folder / "s.sock", timeout_s)


async def test_a_sale_has_a_lease_while_it_lasts(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    async with terminal.up():
        with client_at(terminal) as client:
            lease = client.sale(lease_s=60)
            await asyncio.to_thread(lease.__enter__)
            assert lease.held
            assert terminal.in_sale
            await asyncio.to_thread(lease.__exit__)
            assert not terminal.in_sale
            assert terminal.calls == ["sale.begin", "sale.end"]


async def test_a_long_sale_is_renewed_and_survives_a_restart_of_the_agent(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    with client_at(terminal) as client:
        lease = client.sale(lease_s=1)
        async with terminal.up():
            await asyncio.to_thread(lease.__enter__)
            await until("three renewals", lambda: terminal.calls.count("sale.renew") >= 3)
            assert terminal.in_sale
        terminal.calls.clear()
        async with terminal.up():
            await until("a new lease", lambda: terminal.in_sale)
            assert "sale.begin" in terminal.calls
            await asyncio.to_thread(lease.__exit__)
            assert not terminal.in_sale


async def test_a_restarted_agent_is_told_of_the_sale_before_it_is_told_that_the_application_is_well(
    tmp_path: Path,
) -> None:
    terminal = Terminal(tmp_path)
    with client_at(terminal) as client:
        lease = client.sale(lease_s=180)  # by itself it is renewed only after a minute
        async with terminal.up():
            await asyncio.to_thread(lease.__enter__)
        terminal.calls.clear()
        async with terminal.up():
            await asyncio.to_thread(client.status, Status(ready=True, signed_in=True))
            assert terminal.calls == ["sale.renew", "sale.begin", "app.status"]
            assert terminal.in_sale
            await asyncio.to_thread(lease.__exit__)
            assert not terminal.in_sale
            terminal.calls.clear()
            await asyncio.to_thread(client.status, Status(ready=True, signed_in=True))
            assert terminal.calls == ["app.status"]


async def test_a_socket_that_the_program_may_not_use_is_in_the_way_of_no_sale(tmp_path: Path) -> None:
    async with serving(tmp_path, {"sale.begin": Method(lambda *_: None, "another right")}):
        with PaymentClient(tmp_path / "s.sock", PATIENT_S) as client:

            def sell() -> bool:
                with client.sale() as lease:
                    return lease.held

            assert await asyncio.to_thread(sell) is False


async def test_without_an_agent_the_sale_goes_on_and_is_protected_once_it_is_there(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    with client_at(terminal) as client:
        lease = client.sale(lease_s=1)
        await asyncio.to_thread(lease.__enter__)
        assert not lease.held
        async with terminal.up():
            await until("a lease", lambda: lease.held)
            assert terminal.in_sale
            await asyncio.to_thread(lease.__exit__)
            assert not terminal.in_sale


async def test_a_silent_agent_holds_a_sale_up_no_longer_than_two_calls(tmp_path: Path) -> None:
    async with serving(
        tmp_path, {"sale.begin": Method(lambda *_: asyncio.get_running_loop().create_future(), PAYMENT)}
    ):
        with PaymentClient(tmp_path / "s.sock", 0.2) as client:
            began_s = time.monotonic()

            def sell() -> None:
                with client.sale() as lease:
                    assert not lease.held

            await asyncio.to_thread(sell)
            assert time.monotonic() - began_s < 0.2 * 2 + PATIENT_S / 4


async def test_an_operation_is_waited_for_as_long_as_one_likes(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, operation=RunningOperation("cmd-1", "reset", 0.05))
    async with terminal.up():
        with client_at(terminal) as client:
            with pytest.raises(OperationRunning) as caught:
                await asyncio.to_thread(client.sale().__enter__)
            assert caught.value.retry_after_s == 0.05
            waiting = asyncio.create_task(asyncio.to_thread(client.sale(wait_s=PATIENT_S).__enter__))
            await until("it to ask again", lambda: terminal.calls.count("sale.begin") >= 4)
            terminal.operation = None
            lease = await waiting
            assert lease.held
            await asyncio.to_thread(lease.__exit__)


async def test_a_locked_terminal_refuses_a_sale_and_takes_a_reversal(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, lock=Lock("stolen"))
    async with terminal.up():
        with client_at(terminal) as client:
            with pytest.raises(TerminalLocked):
                await asyncio.to_thread(client.sale().__enter__)
            lease = await asyncio.to_thread(client.sale(purpose="reversal").__enter__)
            assert lease.held
            await asyncio.to_thread(lease.__exit__)
            state = await asyncio.to_thread(client.terminal_state)
            assert (state["locked"], state["lock_reason"]) == (True, "stolen")
            with pytest.raises(PaymentError, match="wrong form"):
                await asyncio.to_thread(client.sale(purpose="rent").__enter__)


async def test_an_exception_in_the_sale_ends_the_lease(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)

    def fail(client: PaymentClient) -> None:
        with client.sale():
            raise ZeroDivisionError

    async with terminal.up():
        with client_at(terminal) as client:
            with pytest.raises(ZeroDivisionError):
                await asyncio.to_thread(fail, client)
            assert not terminal.in_sale


async def test_the_status_is_told_at_once_at_intervals_and_on_change(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    problems: list[Exception] = []
    batch = "000001"
    with client_at(terminal) as client:
        reports = client.report_status(lambda: Status(True, True, batch, saf_count=2), 0.05, problems.append)
        await asyncio.to_thread(reports.__enter__)
        async with terminal.up():
            await until("reports", lambda: len(terminal.statuses) >= 3)
            batch = "000002"
            reports.report_now()
            await until("the change", lambda: terminal.statuses[-1].batch_no == "000002")
            assert terminal.statuses[-1] == AppStatus(True, True, "000002", 0, 0, 2)
            await asyncio.to_thread(reports.__exit__)
    assert all(isinstance(problem, AgentSilent) for problem in problems)


async def test_a_failure_of_the_applications_own_function_ends_no_reports(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    problems: list[Exception] = []

    def status() -> Status:
        if not problems:
            raise ZeroDivisionError
        return Status(True, True, "000001")

    async with terminal.up():
        with client_at(terminal) as client:
            reports = client.report_status(status, 0.01, problems.append)
            await asyncio.to_thread(reports.__enter__)
            await until("a report", lambda: bool(terminal.statuses))
            await asyncio.to_thread(reports.__exit__)
    assert isinstance(problems[0], ZeroDivisionError)


@asynccontextmanager
async def listening(client: PaymentClient) -> AsyncIterator[Callable[[], Any]]:
    """Events taken by a thread; what is yielded waits for the next one."""
    told: queue.Queue[Event] = queue.Queue()
    events = client.events(["lock"])

    def listen() -> None:
        for event in events:
            told.put(event)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield lambda: asyncio.to_thread(told.get, True, PATIENT_S)
    finally:
        events.close()
        await asyncio.to_thread(thread.join, PATIENT_S)
        assert not thread.is_alive()


async def test_events_come_as_they_happen_and_go_on_after_a_restart(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    with client_at(terminal) as client:
        async with listening(client) as following:
            for reason in ("stolen", "tampered"):
                async with terminal.up():
                    first: Event = await following()
                    assert (first.kind, first.data["ready"]) == ("state", True)
                    terminal.announcements.lock(reason)
                    event: Event = await following()
                    assert (event.kind, event.data) == ("lock", {"locked": True, "reason": reason})
                    assert event.at is not None


async def test_a_refused_subscription_is_said(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    async with terminal.up():
        with client_at(terminal) as client, pytest.raises(PaymentError, match="wrong form"):
            await asyncio.to_thread(lambda: list(client.events(["money"])))
