"""A thousand peers and the worst of them, at a real agent: the harm stays with its author.

"A frame too long, rubbish without end, or a peer that does not read its answers loses its own connection and disturbs
nobody." "At least 1,000 connections at once; a peer that lets answers wait for 10 s or 1 MiB is cut off."

Waiting is compared with waiting: how long an honest peer's record takes under attack, against the same beside a peer
that has as much to ask and keeps to the rules. Attackers are processes of their own: nobody measures his own slowness.
"""

from __future__ import annotations

import os
import resource
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.kit.agent_process import ROOT, AgentProcess, call
from tests.kit.contract_peer import Peer, eventually, request_of, sale

RECORDS = 25
TIMES_SLOWER = 20.0  # before processes took turns it was some hundred times
TRIES = 3  # what else runs on this machine can only make it look worse
ATTACKERS = {
    "half frames": "half_frames",
    "sale.begin": "begin_leases",
    "events.subscribe": "subscribe",
    "app.status": "report",
    "connecting and vanishing": "vanish",
    "rubbish": "rubbish",
    "never reading": "never_read",
}


@pytest.fixture(autouse=True)
def _descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("agent")) as agent:
        yield agent


def memory_mb(agent: AgentProcess) -> float:
    assert agent.process is not None
    pages = int(Path(f"/proc/{agent.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def typical_s(peer: Peer) -> float:
    """How long a record takes, the median of some."""
    taken = []
    for _ in range(RECORDS):
        began = time.monotonic()
        peer.record(sale())
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


@contextmanager
def attack(kind: str, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An attacker at work; it says so before this yields."""
    command = [sys.executable, "-m", "tests.kit.socket_attacker", kind, str(path)]
    attacker = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert attacker.stdout is not None
        assert attacker.stdout.readline() == b"at work\n"
        yield attacker
    finally:
        attacker.kill()
        attacker.communicate()


@pytest.mark.timeout(90)
@pytest.mark.parametrize("kind", ATTACKERS.values(), ids=ATTACKERS.keys())
def test_records_of_others_are_acknowledged_as_if_nobody_were_there(agent: AgentProcess, kind: str) -> None:
    path = agent.run / "payment.sock"
    with Peer(path, timeout_s=30.0) as honest:
        before_mb = memory_mb(agent)
        times: list[float] = []
        while not times or min(times) > TIMES_SLOWER:
            assert len(times) < TRIES, f"records took {times} times as long"
            with attack("busy", path):
                beside_s = typical_s(honest)
            with attack(kind, path) as attacker:
                times.append(typical_s(honest) / beside_s)
                assert attacker.poll() is None, "the attacker gave up: nothing was measured"
                assert memory_mb(agent) < before_mb + 40
        assert honest.ask("terminal.state")["locked"] is False


def test_a_thousand_peers_at_each_socket_with_a_lease_and_a_subscription_each(agent: AgentProcess) -> None:
    payment, control = agent.run / "payment.sock", agent.run / "control.sock"
    before_mb = memory_mb(agent)
    with ExitStack() as stack:
        shops = [stack.enter_context(Peer(payment, timeout_s=30.0)) for _ in range(1000)]
        technicians = [stack.enter_context(Peer(control, timeout_s=30.0)) for _ in range(1000)]
        subscribe = request_of("events.subscribe", {"kinds": ["lock"]}) + b"\n"
        for peer in (*shops, *technicians):
            peer.send(subscribe)
        assert all(peer.answer()["result"] == {} for peer in (*shops, *technicians))
        for peer in shops:
            peer.send(request_of("sale.begin", {"lease_s": 180, "purpose": "sale"}) + b"\n")
        leases = [peer.answer()["result"]["lease_id"] for peer in shops]
        assert len(set(leases)) == 1000
        for peer in shops:
            peer.send(request_of("transaction.record", sale()) + b"\n")
        assert len({peer.answer()["result"]["sequence"] for peer in shops}) == 1000
        for peer in technicians:
            assert peer.ask("readiness.get")["ready"] is True
        assert memory_mb(agent) < before_mb + 60
        for peer, lease_id in zip(shops, leases, strict=True):
            assert peer.ask("sale.end", lease_id=lease_id) == {}
    with Peer(payment) as peer:
        assert peer.record(sale())["duplicate"] is False


def test_who_holds_too_many_leases_is_refused_and_others_are_not(agent: AgentProcess) -> None:
    path = agent.run / "payment.sock"
    with attack("begin_leases", path), Peer(path) as honest:
        eventually(lambda: not _is_refused(path), "another process to be granted a lease beside the flood")
        lease_id = honest.ask("sale.begin", lease_s=60, purpose="sale")["lease_id"]
        assert honest.ask("sale.end", lease_id=lease_id) == {}


def _is_refused(path: Path) -> bool:
    answer = call(path, "sale.begin", {"lease_s": 1, "purpose": "sale"})
    return "error" in answer


def test_a_subscriber_that_never_reads_is_cut_off_and_the_others_are_told(agent: AgentProcess) -> None:
    """Cut off by time: 10 s after something began to wait. What it is sent are the states of many small orders."""
    control = agent.run / "control.sock"
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(str(control))
        deaf.sendall(request_of("events.subscribe", {"kinds": ["operation"]}) + b"\n")
        listener = stack.enter_context(Peer(control, timeout_s=30.0))
        listener.ask("events.subscribe", kinds=["operation"])
        ordering = stack.enter_context(Peer(control, timeout_s=30.0))
        deadline = time.monotonic() + 60.0
        while not _is_cut_off(deaf):
            assert time.monotonic() < deadline, "never cut off"
            for _ in range(20):
                ordering.send(request_of("health.check", {"device": "cpu", "level": "internal"}) + b"\n")
            for _ in range(20):
                assert "result" in ordering.answer()
            ended = 0
            while ended < 20:
                line = listener.line()
                assert line, "the one that reads was cut off"
                ended += b'"succeeded"' in line
        assert ordering.ask("readiness.get")["ready"] is True


def _is_cut_off(peer: socket.socket) -> bool:
    """Whether the other end is closed; nothing is read for that."""
    poll = select.poll()
    poll.register(peer.fileno(), 0)
    return any(events & select.POLLHUP for _fd, events in poll.poll(0))
