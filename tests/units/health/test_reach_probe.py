"""Hosts to reach: each stage its own fault, three misses a fault, and a resolver that hangs harms only its own host."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.errors import BadRequest
from agent.health.catalog import reach_subject
from agent.health.probes.reach import ReachProbe, rules, sample_of
from agent.health.resolver import Resolver
from agent.health.rules import begin, conclude, observe
from agent.health.subject import Subject
from drivers.network.reach import TcpReach
from drivers.reach_contract import ReachReading, ReachTarget, Resolved, Stage
from tests.kit.health_room import board, health_room, until
from tests.kit.host_tree import HostTree
from tests.kit.manual_clock import ManualClock

NOW_S = 1_800_000_000.0
GOOD = ReachReading(("203.0.113.7",), 0.01, 0.02, 0.03, NOW_S + 90 * 86_400)


def _failed(stage: Stage) -> ReachReading:
    return ReachReading(failed=stage, why=f"words about {stage.value}")


def _after(*readings: ReachReading, expected: str = "") -> tuple[str, str, set[str | None]]:
    """State, detail and codes after these readings, a minute apart."""
    found = rules(warn_days=14)
    tracks, answered = begin(found), False
    for index, reading in enumerate(readings):
        sample = sample_of(reading, lambda address: address.startswith(expected), NOW_S)
        tracks = observe(found, tracks, sample, index * 60.0)
        answered = answered or sample.answered
    verdict = conclude(found, tracks, answered=answered)
    return verdict.state.value, verdict.detail, {rule.code for rule in verdict.active}


@pytest.mark.parametrize(
    ("stage", "code", "misses"),
    [
        (Stage.NAME, "NET-DNS-001", 3),
        (Stage.CONNECT, "NET-TCP-001", 3),
        (Stage.TLS, "NET-TLS-001", 3),
        (Stage.CERTIFICATE, "NET-TLS-001", 2),
    ],
)
def test_each_stage_has_its_own_fault_after_some_misses_and_ends_with_the_first_success(
    stage: Stage, code: str, misses: int
) -> None:
    failed = _failed(stage)
    assert _after(GOOD, *[failed] * (misses - 1)) == ("ok", "", set())
    assert _after(GOOD, *[failed] * misses) == ("failed", f"words about {stage.value}", {code})
    assert _after(GOOD, *[failed] * misses, GOOD) == ("ok", "", set())
    assert _after(failed)[0] == "unknown"  # from the start: not ok, and not yet a fault
    assert _after(*[failed] * misses)[0] == "failed"


def test_what_was_said_of_tls_is_over_once_none_is_asked_for() -> None:
    ends_soon = ReachReading(("203.0.113.7",), 0.01, 0.02, 3.0, NOW_S + 5 * 86_400)
    plain = ReachReading(("203.0.113.7",), 0.01, 0.02)
    assert _after(ends_soon, ends_soon)[2] == {"NET-TLS-002", "NET-TCP-001"}
    assert _after(ends_soon, ends_soon, plain, plain) == ("ok", "", set())
    assert _after(ends_soon, ends_soon, _failed(Stage.CONNECT))[2] == {"NET-TLS-002", "NET-TCP-001"}


def test_a_fault_gives_way_to_another_stage_but_not_to_a_single_other_miss() -> None:
    name, connect = _failed(Stage.NAME), _failed(Stage.CONNECT)
    assert _after(GOOD, name, name, name, connect)[2] == {"NET-DNS-001"}
    assert _after(GOOD, name, name, name, connect, connect, connect)[2] == {"NET-TCP-001"}


def test_settings_that_cannot_be_used_are_unknown_and_no_fault_of_the_host() -> None:
    assert _after(GOOD, _failed(Stage.SETTINGS)) == ("unknown", "words about settings", {None})


@pytest.mark.parametrize(("days", "expected"), [(90.0, "ok"), (14.1, "ok"), (13.9, "degraded"), (0.1, "degraded")])
def test_a_certificate_that_ends_soon_is_told_in_time(days: float, expected: str) -> None:
    reading = ReachReading(GOOD.addresses, 0.01, 0.02, 0.03, NOW_S + days * 86_400)
    state, _detail, codes = _after(reading, reading)
    assert state == expected
    assert codes == (set() if expected == "ok" else {"NET-TLS-002"})


def test_an_address_that_is_not_expected_is_a_fault_even_when_a_host_answers_there() -> None:
    state, detail, codes = _after(GOOD, GOOD, expected="198.51.100.")
    assert (state, codes) == ("failed", {"NET-DNS-002"})
    assert "203.0.113.7" in detail
    assert _after(GOOD, GOOD, expected="203.0.113.")[0] == "ok"


def test_one_slow_answer_is_nothing_and_two_are_degraded() -> None:
    slow = ReachReading(GOOD.addresses, 0.01, 1.4, 0.1, GOOD.certificate_until_s)
    assert _after(GOOD, slow)[0] == "ok"
    assert _after(GOOD, slow, slow) == ("degraded", "connects only after 1.4 s", {"NET-TCP-001"})
    assert _after(GOOD, slow, slow, GOOD, GOOD)[0] == "ok"


@dataclass
class Host:
    """A host that is as the test says."""

    name: str = "acquirer"
    reading: ReachReading = GOOD
    reads: int = 0
    on_read: Callable[[], None] = field(default=lambda: None)

    async def read(self) -> ReachReading:
        self.reads += 1
        self.on_read()
        return self.reading


def _subject(host: Host | TcpReach, *, required: bool = False, every: int = 1) -> Subject:
    probe = ReachProbe(host, lambda _address: True, lambda: NOW_S)
    return reach_subject(probe, host.name, required=required, warn_days=14, every=every)


async def test_a_required_host_that_cannot_be_reached_stops_the_sale_and_another_does_not(tmp_path: Path) -> None:
    hosts = [Host("acquirer", _failed(Stage.CONNECT)), Host("other", _failed(Stage.CONNECT))]
    subjects = [_subject(hosts[0], required=True), _subject(hosts[1])]
    async with health_room(tmp_path, subjects, interval_s=0.02) as room:
        await until(lambda: room.state("acquirer") == room.state("other") == ("failed", "offline"))
        impacts = {fault.device: fault.impact.value for fault in room.monitor.snapshot().faults}
        assert impacts == {"acquirer": "sale", "other": "none"}
        assert not room.ready()
        for host in hosts:
            host.reading = GOOD
        await until(lambda: room.state("acquirer")[0] == room.state("other")[0] == "ok")
        assert (room.ready(), room.faults()) == (True, {})
        assert room.gauges["acquirer"]["connect_ms"] == 20.0


async def test_a_host_is_tried_at_its_own_interval_on_the_common_grid(tmp_path: Path) -> None:
    clock, host, tree = ManualClock(), Host(), HostTree(tmp_path / "board")
    async with health_room(tmp_path, [_subject(host, every=6), *board(tree)], clock=clock, interval_s=10.0) as room:
        await until(lambda: host.reads == 1 and room.state("memory")[0] == "ok")
        for turn in range(1, 13):
            await until(lambda: clock._sleepers and not room.monitor._under_way)
            clock.advance(10)
            memory = room.monitor._watched["memory"]
            now_s = clock.monotonic()
            await until(lambda memory=memory, now_s=now_s: memory.due_s > now_s)  # type: ignore[misc]
            await until(lambda turn=turn: host.reads == 1 + turn // 6)  # type: ignore[misc]


async def test_a_host_has_no_external_test(tmp_path: Path) -> None:
    async with health_room(tmp_path, [_subject(Host())], running=False) as room:
        with pytest.raises(BadRequest):
            await room.monitor.check("acquirer", "external")
        assert (await room.monitor.check("acquirer", "internal")).state == "ok"


async def test_a_resolver_that_hangs_harms_only_its_own_host_and_costs_one_thread(tmp_path: Path) -> None:
    tree, released = HostTree(tmp_path / "board"), threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    def hangs(target: ReachTarget) -> Resolved:
        if target.name == "stuck":
            released.wait()
        return Resolved(("127.0.0.1",))

    resolver = Resolver(hangs)

    async def impatient(target: ReachTarget, _deadline_s: float) -> Resolved:
        return await resolver.resolve(target, 0.1)

    hosts = [TcpReach(ReachTarget(name, "host.test", port, tls=False), impatient) for name in ("stuck", "fine")]
    before = threading.active_count()
    async with health_room(tmp_path, [*map(_subject, hosts), *board(tree)], interval_s=0.02) as room:
        await until(lambda: room.state("stuck")[0] == "failed")
        (stuck,) = [one for one in room.monitor.snapshot().devices if one.device == "stuck"]
        assert stuck.detail == "no name server answers within 0.1 s"
        assert "NET-DNS-001" in room.faults()
        for _ in range(20):
            room.gauges.clear()
            await until(lambda: "memory_total_bytes" in room.gauges.get("host", {}) and "fine" in room.gauges)
        assert (room.state("fine")[0], room.state("memory")[0]) == ("ok", "ok")
        assert threading.active_count() - before <= 5  # board, store writer and reader, resolver, and the lost one
        released.set()
        await until(lambda: room.state("stuck")[0] == "ok")
    listening.close()


SILENT_NAME_SERVER = """
import asyncio, socket, subprocess, sys, time
from agent.health.resolver import Resolver
from drivers.network.reach import look_up
from drivers.reach_contract import ReachTarget

subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.153", 53))
silent.settimeout(10)

async def main():
    resolver, begun_s = Resolver(look_up), time.monotonic()
    answer = await resolver.resolve(ReachTarget("a", "host.example", 80), 0.3)
    waited_s = time.monotonic() - begun_s
    again = await resolver.resolve(ReachTarget("a", "host.example", 80), 0.3)
    local = await resolver.resolve(ReachTarget("b", "localhost", 80), 5.0)
    print(answer.problem, "|", again.problem, "|", bool(local.addresses), "|", waited_s < 3)
    print(b"host" in silent.recv(512))

asyncio.run(main())
"""


def test_the_systems_own_resolver_at_a_silent_name_server_is_given_up_in_time(tmp_path: Path) -> None:
    """A real getaddrinfo that hangs: in a mount namespace of its own, with a name server that never answers."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.153\noptions timeout:4 attempts:1\n")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to make a mount namespace")
    command = ["unshare", "-m", sys.executable, "-c", SILENT_NAME_SERVER, str(tmp_path / "resolv.conf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    late = "no name server answers within 0.3 s"
    assert done.stdout.splitlines() == [f"{late} | {late} | True | True", "True"]


async def test_answers_of_different_hosts_are_never_mixed_up() -> None:
    def slow(target: ReachTarget) -> Resolved:
        threading.Event().wait(0.02 if target.port % 2 else 0.0)
        return Resolved((f"127.0.0.{target.port}",))

    resolver = Resolver(slow)
    targets = [ReachTarget(f"h{port}", "host.test", port) for port in range(1, 9)]
    for _ in range(5):
        answers = await asyncio.gather(*(resolver.resolve(target, 5.0) for target in targets))
        assert [answer.addresses[0] for answer in answers] == [f"127.0.0.{target.port}" for target in targets]
