"""Leases and application status by the contract's words, from strangers at payment.sock: raw lines, no client.

"The owner is the peer's uid and pid; a lease outlives its connection; another's, an ended or unknown one is
`LEASE_UNKNOWN`; an owner may hold several; `app.status` needs all six fields … an unknown one is taken and counts for
itself."
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.agent_process import AgentProcess
from tests.kit.contract_peer import BAD_PARAMS, NO_METHOD, OF_THE_AGENT, Peer, eventually, sale

STATUS: dict[str, Any] = {
    "ready": True,
    "signed_in": True,
    "batch_no": "000001",
    "pending_reversals": 0,
    "unknown_results": 0,
    "saf_count": 0,
}
ANOTHER_PROCESS = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
lines = s.makefile("rw", encoding="utf-8", newline="\\n")
for line in sys.stdin:
    lines.write(line)
    lines.flush()
    print(lines.readline(), end="", flush=True)
"""


class OtherProcess:
    """A payment application that is not this one."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", ANOTHER_PROCESS, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("agent")) as agent:
        yield agent


@pytest.fixture
def peer(agent: AgentProcess) -> Iterator[Peer]:
    with Peer(agent.run / "payment.sock") as peer:
        yield peer


@pytest.fixture
def other(agent: AgentProcess) -> Iterator[OtherProcess]:
    other = OtherProcess(agent.run / "payment.sock")
    yield other
    other.close()


def unknown(peer: Peer, method: str, **params: Any) -> None:
    error = peer.refused(method, params)
    assert (error["code"], error["data"]["code"]) == (OF_THE_AGENT, "LEASE_UNKNOWN"), error


def test_a_lease_says_its_id_and_when_it_expires(peer: Peer) -> None:
    for purpose in ("sale", "reversal", "settlement"):
        for lease_s in (1, 180):
            lease = peer.ask("sale.begin", lease_s=lease_s, purpose=purpose)
            assert set(lease) == {"lease_id", "expires_in_s"}
            assert isinstance(lease["lease_id"], str)
            assert 0 < lease["expires_in_s"] <= lease_s
            renewed = peer.ask("sale.renew", lease_id=lease["lease_id"], lease_s=60)
            assert renewed["lease_id"] == lease["lease_id"]
            assert 59 < renewed["expires_in_s"] <= 60
            assert peer.ask("sale.end", lease_id=lease["lease_id"]) == {}


@pytest.mark.parametrize("lease_s", [0, -1, 181, 1.5, 60.0, "60", None, True, [60]])
def test_a_lease_is_one_to_a_hundred_and_eighty_whole_seconds(peer: Peer, lease_s: object) -> None:
    error = peer.refused("sale.begin", {"lease_s": lease_s, "purpose": "sale"})
    assert (error["code"], error["data"]["code"], error["data"]["field"]) == (BAD_PARAMS, "BAD_PARAMS", "lease_s")


@pytest.mark.parametrize("purpose", ["", "SALE", "refund", None, 1])
def test_a_purpose_is_one_of_three(peer: Peer, purpose: object) -> None:
    error = peer.refused("sale.begin", {"lease_s": 60, "purpose": purpose})
    assert (error["code"], error["data"]["field"]) == (BAD_PARAMS, "purpose")
    assert peer.refused("sale.begin", {"lease_s": 60})["data"]["field"] == "purpose"


def test_what_was_ended_or_never_was_is_unknown(peer: Peer) -> None:
    ended = peer.ask("sale.begin", lease_s=60, purpose="sale")["lease_id"]
    peer.ask("sale.end", lease_id=ended)
    for lease_id in (ended, str(uuid.uuid4()), "", "x"):
        unknown(peer, "sale.renew", lease_id=lease_id, lease_s=60)
        unknown(peer, "sale.end", lease_id=lease_id)


def test_a_lease_ends_by_itself_and_not_before(peer: Peer) -> None:
    renewed, left_alone = (peer.ask("sale.begin", lease_s=1, purpose="sale")["lease_id"] for _ in range(2))
    assert 59 < peer.ask("sale.renew", lease_id=renewed, lease_s=60)["expires_in_s"] <= 60
    over_at = time.monotonic() + 1.0  # measured after it began
    eventually(lambda: time.monotonic() > over_at, "its time to be over")
    unknown(peer, "sale.renew", lease_id=left_alone, lease_s=60)
    assert peer.ask("sale.end", lease_id=renewed) == {}


def test_it_outlives_its_connection_and_is_the_process_own(
    agent: AgentProcess, peer: Peer, other: OtherProcess
) -> None:
    with Peer(agent.run / "payment.sock") as first:
        mine = first.ask("sale.begin", lease_s=60, purpose="sale")["lease_id"]
    answer = other.call("sale.end", lease_id=mine)
    assert (answer["error"]["code"], answer["error"]["data"]["code"]) == (OF_THE_AGENT, "LEASE_UNKNOWN")
    theirs = other.call("sale.begin", lease_s=60, purpose="sale")["result"]["lease_id"]
    unknown(peer, "sale.renew", lease_id=theirs, lease_s=60)
    assert peer.ask("sale.renew", lease_id=mine, lease_s=60)["lease_id"] == mine
    assert peer.ask("sale.end", lease_id=mine) == {}
    assert other.call("sale.end", lease_id=theirs)["result"] == {}


def test_an_owner_may_hold_several_each_ending_by_itself(peer: Peer) -> None:
    leases = [peer.ask("sale.begin", lease_s=60, purpose="sale")["lease_id"] for _ in range(20)]
    assert len(set(leases)) == 20
    for lease_id in reversed(leases):
        assert peer.ask("sale.end", lease_id=lease_id) == {}


def test_a_restart_of_the_agent_ends_every_lease(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path)
    with agent:
        with Peer(agent.run / "payment.sock") as peer:
            lease_id = peer.ask("sale.begin", lease_s=180, purpose="sale")["lease_id"]
        agent.kill()
        agent.start()
        with Peer(agent.run / "payment.sock") as peer:
            unknown(peer, "sale.renew", lease_id=lease_id, lease_s=60)
            peer.ask("sale.begin", lease_s=60, purpose="sale")


@pytest.mark.parametrize("left_out", sorted(STATUS))
def test_a_status_needs_all_six_fields(peer: Peer, left_out: str) -> None:
    error = peer.refused("app.status", {name: value for name, value in STATUS.items() if name != left_out})
    assert (error["code"], error["data"]["code"], error["data"]["field"]) == (BAD_PARAMS, "BAD_PARAMS", left_out)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ready", "yes"),
        ("signed_in", 1),
        ("batch_no", 1),
        ("batch_no", "0001"),
        ("pending_reversals", -1),
        ("unknown_results", 1.5),
        ("saf_count", None),
    ],
)
def test_a_status_of_wrong_form_is_named_by_its_field(peer: Peer, field: str, value: object) -> None:
    error = peer.refused("app.status", {**STATUS, field: value})
    assert (error["code"], error["data"]["field"]) == (BAD_PARAMS, field)
    assert peer.refused("app.status", {**STATUS, "more": 1})["data"]["field"] == "(unknown)"


def test_a_program_that_nobody_configured_may_speak_for_itself(peer: Peer, other: OtherProcess) -> None:
    assert peer.ask("app.status", **STATUS) == {}
    assert other.call("app.status", **{**STATUS, "batch_no": None, "pending_reversals": 3})["result"] == {}


def test_the_terminal_says_how_it_is(peer: Peer) -> None:
    state = peer.ask("terminal.state")
    assert set(state) == {"locked", "lock_reason", "operation", "ready", "reasons"}
    assert (state["locked"], state["lock_reason"], state["operation"]) == (False, None, None)
    assert state["ready"] is (state["reasons"] == [])
    assert peer.refused("terminal.state", {"more": 1})["data"]["field"] == "(unknown)"


@pytest.mark.parametrize("method", ["sale.begin", "sale.renew", "sale.end", "app.status", "terminal.state"])
def test_none_of_it_is_on_the_control_socket(agent: AgentProcess, method: str) -> None:
    with Peer(agent.run / "control.sock") as control:
        assert control.refused(method)["code"] == NO_METHOD


def test_a_lease_never_keeps_a_record_out(peer: Peer) -> None:
    lease_id = peer.ask("sale.begin", lease_s=60, purpose="sale")["lease_id"]
    assert peer.record(sale())["duplicate"] is False
    peer.ask("sale.end", lease_id=lease_id)
