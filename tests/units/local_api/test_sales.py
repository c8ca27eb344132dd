"""payment.sock: leases, application status and the terminal's state, over the real room and a real socket."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.contract.health import Readiness, ReadinessReason
from agent.contract.selling import Selling
from agent.local_api.sales import SaleMethods
from agent.runtime.clock import SystemClock
from agent.selling.selling import Lock, Sales
from agent.workflow.roster import RunningOperation
from tests.kit.rpc_peer import BAD_PARAMS, OF_THE_AGENT, RpcPeer, Served, serving

AT = "2026-11-21T02:00:00.000Z"
WELL: dict[str, Any] = {
    "ready": True,
    "signed_in": True,
    "batch_no": "000001",
    "pending_reversals": 0,
    "unknown_results": 0,
    "saf_count": 0,
}


@dataclass
class Shop:
    """A payment socket whose terminal may be locked or busy."""

    operation: RunningOperation | None = None
    lock: Lock | None = None
    reasons: tuple[ReadinessReason, ...] = ()
    reports: list[tuple[str, str, bool, str]] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, folder: Path) -> AsyncIterator[tuple[Served, RpcPeer, Sales]]:
        sales = Sales(
            {},
            SystemClock(),
            report=lambda *told: self.reports.append(told),
            operation=lambda: self.operation,
            lock=lambda: self.lock,
        )
        methods = SaleMethods(sales, lambda: Readiness(not self.reasons, self.reasons, AT)).table()
        async with serving(folder, methods) as served, served.connect() as peer:
            yield served, peer, sales


async def test_a_lease_is_begun_renewed_and_ended(tmp_path: Path) -> None:
    async with Shop().open(tmp_path) as (_served, peer, sales):
        begun = await peer.result("sale.begin", {"lease_s": 60, "purpose": "sale"})
        assert set(begun) == {"lease_id", "expires_in_s"}
        assert begun["expires_in_s"] == 60
        assert 59 < (sales.facts().lease_left_s or 0) <= 60
        renewed = await peer.result("sale.renew", {"lease_id": begun["lease_id"], "lease_s": 180})
        assert renewed == {"lease_id": begun["lease_id"], "expires_in_s": 180}
        assert await peer.result("sale.end", {"lease_id": begun["lease_id"]}) == {}
        assert sales.facts().lease_left_s is None
        error = await peer.error("sale.end", {"lease_id": begun["lease_id"]})
        assert (error["code"], error["data"]["code"]) == (OF_THE_AGENT, "LEASE_UNKNOWN")


async def test_a_lease_outlives_its_connection_and_belongs_to_the_process(tmp_path: Path) -> None:
    async with Shop().open(tmp_path) as (served, peer, sales):
        async with served.connect() as first:
            lease_id = (await first.result("sale.begin", {"lease_s": 60, "purpose": "sale"}))["lease_id"]
        assert sales.facts().lease_left_s is not None
        assert (await _in_another_process(served.path, "sale.end", {"lease_id": lease_id}))["error"]["data"][
            "code"
        ] == "LEASE_UNKNOWN"
        assert await peer.result("sale.end", {"lease_id": lease_id}) == {}


async def _in_another_process(path: Path, method: str, params: dict[str, Any]) -> dict[str, Any]:
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + "\n"
    program = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(sys.argv[2].encode()); print(s.makefile().readline())"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program, str(path), request], capture_output=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


async def test_an_operation_or_a_lock_refuses_with_what_to_do(tmp_path: Path) -> None:
    shop = Shop(operation=RunningOperation("cmd-1", "reset", 12.5))
    async with shop.open(tmp_path) as (_served, peer, _sales):
        for purpose in ("sale", "reversal", "settlement"):
            error = await peer.error("sale.begin", {"lease_s": 60, "purpose": purpose})
            assert (error["data"]["code"], error["data"]["retry_after_s"]) == ("OPERATION_RUNNING", 12.5)
        shop.operation, shop.lock = None, Lock("stolen")
        error = await peer.error("sale.begin", {"lease_s": 60, "purpose": "sale"})
        assert (error["code"], error["data"]["code"]) == (OF_THE_AGENT, "TERMINAL_LOCKED")
        await peer.result("sale.begin", {"lease_s": 60, "purpose": "settlement"})


@pytest.mark.parametrize(
    ("method", "params", "field"),
    [
        ("sale.begin", {"lease_s": 0, "purpose": "sale"}, "lease_s"),
        ("sale.begin", {"lease_s": 181, "purpose": "sale"}, "lease_s"),
        ("sale.begin", {"lease_s": 1.5, "purpose": "sale"}, "lease_s"),
        ("sale.begin", {"lease_s": True, "purpose": "sale"}, "lease_s"),
        ("sale.begin", {"lease_s": "60", "purpose": "sale"}, "lease_s"),
        ("sale.begin", {"lease_s": 60, "purpose": "rent"}, "purpose"),
        ("sale.begin", {"lease_s": 60}, "purpose"),
        ("sale.begin", {"lease_s": 60, "purpose": "sale", "owner": 1}, "(unknown)"),
        ("sale.renew", {"lease_id": "x"}, "lease_s"),
        ("sale.renew", {"lease_id": "x" * 65, "lease_s": 1}, "lease_id"),
        ("sale.end", {}, "lease_id"),
        ("sale.end", {"lease_id": 5}, "lease_id"),
        ("app.status", {**WELL, "saf_count": -1}, "saf_count"),
        ("app.status", {**WELL, "batch_no": "1"}, "batch_no"),
        ("app.status", {**WELL, "ready": 1}, "ready"),
        ("app.status", {**WELL, "more": 1}, "(unknown)"),
        *[("app.status", {name: value for name, value in WELL.items() if name != left}, left) for left in WELL],
        ("terminal.state", {"verbose": True}, "(unknown)"),
    ],
)
async def test_a_wrong_form_is_named_by_its_field(
    tmp_path: Path, method: str, params: dict[str, Any], field: str
) -> None:
    async with Shop().open(tmp_path) as (_served, peer, sales):
        error = await peer.error(method, params)
        assert (error["code"], error["data"]["code"], error["data"]["field"]) == (BAD_PARAMS, "BAD_PARAMS", field)
        assert sales.facts() == Selling()


async def test_a_status_is_taken_from_whoever_may_come_in(tmp_path: Path) -> None:
    async with Shop().open(tmp_path) as (_served, peer, sales):
        assert await peer.result("app.status", {**WELL, "pending_reversals": 2, "saf_count": 3}) == {}
        assert sales.facts() == Selling(pending_reversals=2, saf_count=3)
        assert await peer.result("app.status", {**WELL, "batch_no": None}) == {}
        assert sales.facts() == Selling()


async def test_the_state_of_the_terminal_in_five_fields(tmp_path: Path) -> None:
    shop = Shop()
    async with shop.open(tmp_path) as (_served, peer, _sales):
        assert await peer.result("terminal.state") == {
            "locked": False,
            "lock_reason": None,
            "operation": None,
            "ready": True,
            "reasons": [],
        }
        shop.lock, shop.operation = Lock("stolen"), RunningOperation("cmd-1", "reset", 2.0)
        shop.reasons = (ReadinessReason("TERMINAL_LOCKED", "stolen", AT),)
        assert await peer.result("terminal.state") == {
            "locked": True,
            "lock_reason": "stolen",
            "operation": {"command_id": "cmd-1", "name": "reset", "retry_after_s": 2.0},
            "ready": False,
            "reasons": [{"code": "TERMINAL_LOCKED", "text": "stolen", "since": AT}],
        }
