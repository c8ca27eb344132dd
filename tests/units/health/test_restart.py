"""What survives: `since`, faults and readiness over a restart; changes that the store would not take at first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.contract.health import State
from agent.errors import StoreFull
from agent.health.catalog import unplaced_subject
from agent.health.records import read
from agent.health.rules import PROBE_BROKEN, Hold, Rule
from agent.health.sample import Sample, Seen
from agent.health.subject import Subject
from agent.store.database import Database
from tests.kit.health_room import HealthRoom, health_room, until
from tests.kit.manual_clock import ManualClock

COVER = Rule("cover", "cover", State.FAILED, "cover open", "HW-PRN-004", confirm=Hold(2), release=Hold(2))
RULES = (PROBE_BROKEN, COVER)


@dataclass
class Probe:
    """A device that says what the test tells it to."""

    says: Seen | Exception = False
    looks: int = 0

    async def look(self, deadline_s: float) -> Sample:
        self.looks += 1
        if isinstance(self.says, Exception):
            raise self.says
        return Sample(True, {"cover": self.says})

    async def test(self) -> None:
        raise RuntimeError("bug")


def _subject(probe: Probe, name: str = "printer-0") -> Subject:
    return Subject(name, "pos_printer", name, RULES, required=True, device=probe)


def _since(room: HealthRoom) -> str:
    (health,) = room.monitor.snapshot().devices
    return health.since


async def test_a_restart_keeps_since_and_tells_the_truth_before_any_look(tmp_path: Path) -> None:
    clock, probe = ManualClock(), Probe(True)
    async with health_room(tmp_path, [_subject(probe)], clock=clock, running=False) as room:
        assert room.monitor.publications()
        await room.monitor.check("printer-0", "internal")
        since, faults = _since(room), room.monitor.snapshot().faults
        assert (room.state("printer-0")[0], room.ready()) == ("failed", False)
    clock.advance(3600)
    async with health_room(tmp_path, [_subject(probe)], clock=clock, running=False) as room:
        assert _since(room) == since
        assert room.monitor.snapshot().faults == faults
        assert not room.ready()
        assert not room.monitor._truth.is_unsaid  # nothing is new
        clock.advance(10)
        await room.monitor.check("printer-0", "internal")
        assert _since(room) == since


async def test_before_restore_nothing_is_said(tmp_path: Path) -> None:
    async with health_room(tmp_path, [_subject(Probe())], clock=ManualClock(), running=False) as room:
        room.monitor._restored = False
        assert room.monitor.publications() == []


async def test_a_device_never_looked_at_is_unknown_and_a_required_one_stops_the_sale(tmp_path: Path) -> None:
    async with health_room(tmp_path, [_subject(Probe())], clock=ManualClock(), running=False) as room:
        assert room.state("printer-0") == ("unknown", "unknown")
        (reason,) = room.monitor.snapshot().readiness.reasons
        assert (reason.code, "not looked at yet" in reason.text) == ("DEVICE_STATE_UNKNOWN", True)
        await room.monitor.check("printer-0", "internal")
        assert room.ready()


async def test_a_required_device_without_a_port_is_unknown_and_says_why(tmp_path: Path) -> None:
    subject = unplaced_subject("printer-0", "pos_printer", required=True)
    async with health_room(tmp_path, [subject], clock=ManualClock(), running=False) as room:
        health = await room.monitor.check("printer-0", "internal")
        assert (health.state, "[devices.printer-0]" in health.detail) == ("unknown", True)
        assert not room.ready()


async def test_a_device_that_is_no_longer_there_is_taken_back(tmp_path: Path) -> None:
    clock = ManualClock()
    async with health_room(tmp_path, [_subject(Probe(True), "printer-1")], clock=clock, running=False) as room:
        await room.monitor.check("printer-1", "internal")
    async with health_room(tmp_path, [_subject(Probe())], clock=clock) as room:
        await room.awaited("agent/e/fault", 2)
        assert await room.messages("dev/printer-1/health") == [None]
        assert room.faults() == {}
        # The other's own row comes with its first look, which may be after the messages about what is gone.
        async with asyncio.timeout(20):
            devices, faults = await room.database.read(read)
            while {row.device for row in devices} != {"printer-0"}:
                await asyncio.sleep(0.01)
                devices, faults = await room.database.read(read)
        assert faults == []


@pytest.mark.parametrize("error", [RuntimeError("bug"), TimeoutError("late"), KeyError("x")])
async def test_a_probe_that_raises_is_contained_and_its_device_unknown(tmp_path: Path, error: Exception) -> None:
    probe, other = Probe(), Probe()
    async with health_room(tmp_path, [_subject(probe), _subject(other, "printer-1")], interval_s=0.02) as room:
        await until(lambda: room.state("printer-0")[0] == "ok")
        probe.says = error
        await until(lambda: room.state("printer-0")[0] == "unknown")
        looks = other.looks
        await until(lambda: other.looks > looks + 3)
        assert room.state("printer-1")[0] == "ok"
        assert not room.ready()
        probe.says = False
        await until(lambda: room.state("printer-0")[0] == "ok")


async def test_an_external_test_that_breaks_is_a_failed_check_and_nothing_more(tmp_path: Path) -> None:
    async with health_room(tmp_path, [_subject(Probe())], running=False) as room:
        assert (await room.monitor.check("printer-0", "external")).state == "failed"
        assert room.state("printer-0")[0] == "ok"


async def test_what_the_store_refuses_is_written_later_with_every_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [True]
    write: Callable[..., object] = Database.write

    async def write_if_room(self: Database, job: object, **options: object) -> object:
        if full[0]:
            raise StoreFull("full")
        return await write(self, job, **options)  # type: ignore[misc]

    probe = Probe()
    async with health_room(tmp_path, [_subject(probe)], interval_s=0.02) as room:
        await room.awaited("dev/printer-0/health")
        monkeypatch.setattr(Database, "write", write_if_room)
        probe.says = True
        await until(lambda: not room.ready())
        probe.says = False
        await until(room.ready)
        full[0] = False
        events = await room.awaited("agent/e/fault", 2)
        assert [event["data"]["active"] for event in events] == [True, False]
        (health,) = await room.messages("dev/printer-0/health")
        assert health["state"] == "ok"


async def test_a_steady_device_costs_no_commit_and_is_said_again_after_a_day(tmp_path: Path) -> None:
    clock, probe = ManualClock(), Probe()
    async with health_room(tmp_path, [_subject(probe)], clock=clock, interval_s=10.0) as room:
        await room.awaited("dev/printer-0/health")
        (first,) = await room.messages("dev/printer-0/health")
        commits = room.database.metrics().commits
        for looks in range(2, 20):
            clock.advance(10)
            await until(lambda looks=looks: probe.looks >= looks)  # type: ignore[misc]
        assert room.database.metrics().commits == commits
        clock.advance(86_400)
        await until(lambda: room.database.metrics().commits > commits)
        (again,) = await room.messages("dev/printer-0/health")
        assert (again["since"], again["at"] > first["at"]) == (first["since"], True)
