"""The loop itself: what it promises the watchdog, who waits for whom, and how it ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from agent.contract.health import State
from agent.health.rules import PROBE_BROKEN, Hold, Rule
from agent.health.sample import Sample
from agent.health.subject import Subject
from tests.kit.health_room import board, health_room, until
from tests.kit.host_tree import HostTree
from tests.kit.manual_clock import ManualClock

RULES = (PROBE_BROKEN, Rule("cover", "cover", State.FAILED, "cover open", "HW-PRN-004", confirm=Hold(2)))


@dataclass
class Held:
    """A device that answers when it is let go; ``stubborn`` also ignores being cancelled."""

    stubborn: bool = False
    looks: int = 0
    at_once: int = 0
    most_at_once: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def look(self, deadline_s: float) -> Sample:
        self.looks += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            while not self.go.is_set():
                try:
                    await self.go.wait()
                except asyncio.CancelledError:
                    if not self.stubborn:
                        raise
            return Sample(True, {"cover": False})
        finally:
            self.at_once -= 1

    async def test(self) -> None:
        await self.look(1.0)


def _subject(probe: Held, name: str) -> Subject:
    return Subject(name, "pos_printer", name, RULES, device=probe)


async def test_a_device_that_hangs_delays_neither_another_nor_the_board(tmp_path: Path) -> None:
    tree, hanging, other = HostTree(tmp_path), Held(stubborn=True), Held()
    other.go.set()
    subjects = [_subject(hanging, "a"), _subject(other, "b"), *board(tree)]
    async with health_room(tmp_path, subjects, interval_s=0.02, deadline_s=0.1) as room:
        await until(lambda: other.looks > 20 and room.state("memory")[0] == "ok")
        assert hanging.looks == 1
        tree.memory(available_pct=44)
        await until(lambda: room.gauges["host"]["memory_available_pct"] == 44.0)
        hanging.go.set()
        await until(lambda: room.state("a")[0] == "ok")


async def test_a_check_waits_for_the_look_under_way_and_no_two_look_at_once(tmp_path: Path) -> None:
    probe = Held()
    async with health_room(tmp_path, [_subject(probe, "a")], interval_s=0.01, deadline_s=5.0) as room:
        await until(lambda: probe.looks == 1)
        checks = [asyncio.create_task(room.monitor.check("a", level)) for level in ("internal", "external")]
        await asyncio.sleep(0.05)
        assert probe.looks == 1
        probe.go.set()
        assert [(await check).state for check in checks] == ["ok", "ok"]
        assert probe.most_at_once == 1


async def test_the_watchdog_sees_a_look_that_never_ends_and_nothing_while_resting(tmp_path: Path) -> None:
    clock, probe = ManualClock(), Held(stubborn=True)
    async with health_room(tmp_path, [_subject(probe, "a")], clock=clock, interval_s=10.0) as room:
        await until(lambda: probe.looks == 1)
        clock.advance(30)
        assert room.pulses.stalled() == []
        clock.advance(40)
        assert room.pulses.stalled() == ["health"]
        probe.go.set()
        await until(lambda: room.state("a")[0] == "ok" and room.pulses.stalled() == [])
        await until(lambda: clock._sleepers)
        clock.advance(5)
        assert room.pulses.stalled() == []


async def test_looks_due_together_stay_together_after_one_was_repeated(tmp_path: Path) -> None:
    clock, tree = ManualClock(), HostTree(tmp_path)
    async with health_room(tmp_path, board(tree), clock=clock, interval_s=10.0) as room:
        await until(lambda: room.state("cpu")[0] == "ok" and clock._sleepers and not room.monitor._under_way)
        tree.remove("meminfo")
        clock.advance(10)
        await until(lambda: room.monitor._watched["memory"].is_undecided)  # the first miss
        clock.advance(1)
        await until(lambda: room.state("memory")[0] == "unknown")  # the repeat, soon after it
        due = {one.subject.every: one.due_s for one in room.monitor._watched.values()}
        assert {one.due_s for one in room.monitor._watched.values()} == set(due.values())
        rounds = {every: (due_s - room.monitor._begun_s) / 10.0 for every, due_s in due.items()}
        assert rounds == {1: 2.0, 3: 3.0, 6: 6.0, 30: 30.0}


async def test_stopping_in_the_middle_of_a_look_leaves_nothing_behind(tmp_path: Path) -> None:
    probe = Held()
    async with health_room(tmp_path, [_subject(probe, "a")], deadline_s=60.0) as room:
        await until(lambda: probe.looks == 1)
    assert probe.at_once == 0
    assert room.pulses.stalled() == []
