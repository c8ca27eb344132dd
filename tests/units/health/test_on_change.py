"""Who listens is told of every change once, at once, with the state of that moment; a look without news is silent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.contract.health import DeviceHealth, Readiness, State
from agent.health.rules import PROBE_BROKEN, Hold, Rule
from agent.health.sample import Sample
from agent.health.subject import Subject
from tests.kit.health_room import HealthRoom, health_room
from tests.kit.manual_clock import ManualClock

RULES = (
    PROBE_BROKEN,
    Rule("end", "end", State.FAILED, "paper end", "HW-PRN-002", confirm=Hold(2), release=Hold(2)),
    Rule("near", "near", State.DEGRADED, "paper near end", "HW-PRN-003"),
)


@dataclass
class Printer:
    end: bool = False
    near: bool = False

    async def look(self, deadline_s: float) -> Sample:
        return Sample(True, {"end": self.end, "near": self.near})

    async def test(self) -> None:
        return


def _told(room: HealthRoom) -> list[tuple[str, object]]:
    told = [
        (kind, (now.state.value, now.detail) if isinstance(now, DeviceHealth) else getattr(now, "ready", None))
        for kind, now in room.told
    ]
    room.told.clear()
    return told


async def test_a_change_of_a_device_and_what_follows_for_selling_are_told_once(tmp_path: Path) -> None:
    printer = Printer()
    subject = Subject("printer-0", "pos_printer", "printer-0", RULES, required=True, device=printer)
    async with health_room(tmp_path, [subject], clock=ManualClock(), running=False) as room:
        await room.monitor.check("printer-0", "internal")
        assert _told(room) == [("health", ("ok", "")), ("readiness", True)]
        await room.monitor.check("printer-0", "internal")
        assert _told(room) == []
        printer.near = True
        await room.monitor.check("printer-0", "internal")
        assert _told(room) == [("health", ("degraded", "paper near end"))]


async def test_what_is_told_is_what_a_snapshot_says_at_that_moment(tmp_path: Path) -> None:
    printer = Printer(end=True)
    subject = Subject("printer-0", "pos_printer", "printer-0", RULES, required=True, device=printer)
    async with health_room(tmp_path, [subject], clock=ManualClock(), running=False) as room:
        await room.monitor.check("printer-0", "internal")
        snapshot = room.monitor.snapshot()
        told = dict(room.told)
        assert told["health"] == snapshot.devices[0]
        readiness = told["readiness"]
        assert isinstance(readiness, Readiness)
        assert (readiness.ready, readiness.reasons) == (False, snapshot.readiness.reasons)


async def test_a_fault_that_another_room_reports_changes_readiness_only_when_it_stops_selling(tmp_path: Path) -> None:
    async with health_room(tmp_path, [], clock=ManualClock(), running=False) as room:
        room.monitor.report("SEC-PAN-001", "payment_socket", True, "rule R2")
        assert _told(room) == []
