"""The board below an emulated /proc: limits, rubbish, and files that block whoever reads them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from agent.errors import BadRequest
from tests.kit.health_room import board, health_room, until
from tests.kit.host_tree import HostTree

OK, UNKNOWN = ("ok", "online"), ("unknown", "unknown")


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[HostTree]:
    tree = HostTree(tmp_path)
    yield tree
    tree.close()


def _readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "health-reader"]


async def test_a_sound_board_is_ok_and_its_readings_are_kept(tmp_path: Path, tree: HostTree) -> None:
    async with health_room(tmp_path, board(tree)) as room:
        await until(lambda: {room.state(name) for name in ("memory", "cpu", "filesystem")} == {OK})
        assert room.gauges["host"]["memory_available_pct"] == 60.0
        assert room.gauges["host"]["cpu_pressure_pct"] == 1.0
        assert room.ready()


@pytest.mark.parametrize("silent_writer", [False, True])
async def test_a_file_that_blocks_makes_one_part_unknown_and_delays_no_other(
    tmp_path: Path, tree: HostTree, silent_writer: bool
) -> None:
    async with health_room(tmp_path, board(tree), interval_s=0.1, deadline_s=2.0) as room:
        await until(lambda: room.state("memory") == OK)
        tree.fifo("meminfo", silent_writer=silent_writer)
        began, tree_says = time.monotonic(), 2.0

        def shown(pressure_pct: float) -> bool:
            return room.gauges["host"]["cpu_pressure_pct"] == pressure_pct

        await until(lambda: "memory" in room.monitor._reader.under_way)
        while room.state("memory") != UNKNOWN:  # the others go on meanwhile, each round
            tree_says += 1
            tree.processor(pressure_pct=tree_says)
            await until(partial(shown, tree_says), timeout_s=10)
            assert time.monotonic() - began < 20
        assert tree_says > 3.0, "the others waited for the one that blocks"
        assert room.faults() == {}
        tree.let_go("meminfo")
        tree.memory(available_pct=61)
        await until(lambda: room.state("memory") == OK)
        assert room.gauges["host"]["memory_available_pct"] == 61.0


async def test_however_many_files_block_each_has_at_most_one_thread(tmp_path: Path, tree: HostTree) -> None:
    before = len(_readers())
    async with health_room(tmp_path, board(tree), interval_s=0.02, deadline_s=0.1) as room:
        await until(lambda: room.state("filesystem") == OK)
        tree.fifo("meminfo")
        tree.fifo("stat", silent_writer=True)
        await until(lambda: room.state("memory") == UNKNOWN and room.state("cpu") == UNKNOWN)
        for _ in range(20):  # many more rounds, each with a fresh reading of what is left
            room.gauges.clear()
            await until(lambda: "storage_used_pct" in room.gauges.get("host", {}))
        assert len(_readers()) - before <= 3
        tree.close()
        tree.memory(available_pct=50)
        tree.processor(pressure_pct=1)
        await until(lambda: room.state("memory") == OK and room.state("cpu") == OK)
        await until(lambda: len(_readers()) - before == 1)
    await until(lambda: len(_readers()) == before)


@pytest.mark.parametrize(
    ("name", "content", "device"),
    [
        ("meminfo", b"", "memory"),
        ("meminfo", b"\x00\xff rubbish", "memory"),
        ("meminfo", b"MemTotal: 10 kB\nMemAvailable: 11 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n", "memory"),
        ("stat", b"cpu nan\n", "cpu"),
        ("loadavg", b"", "cpu"),
        ("pressure/cpu", b"some avg10=", "cpu"),
    ],
)
async def test_rubbish_is_unknown_and_neither_good_nor_bad(
    tmp_path: Path, tree: HostTree, name: str, content: bytes, device: str
) -> None:
    async with health_room(tmp_path, board(tree)) as room:
        await until(lambda: room.state(device) == OK)
        tree.write(name, content)
        await until(lambda: room.state(device) == UNKNOWN)
        assert room.faults() == {}
        assert room.ready()
        tree.memory(available_pct=60)
        tree.processor(pressure_pct=1)
        await until(lambda: room.state(device) == OK)


async def test_a_file_that_vanishes_is_unknown_and_named(tmp_path: Path, tree: HostTree) -> None:
    async with health_room(tmp_path, board(tree)) as room:
        await until(lambda: room.state("memory") == OK)
        tree.remove("meminfo")
        await until(lambda: room.state("memory") == UNKNOWN)
        (memory,) = [one for one in room.monitor.snapshot().devices if one.device == "memory"]
        assert "meminfo" in memory.detail


async def test_a_kernel_without_pressure_is_judged_by_use(tmp_path: Path, tree: HostTree) -> None:
    for name in ("cpu", "memory", "io"):
        tree.remove(f"pressure/{name}")
    async with health_room(tmp_path, board(tree)) as room:
        await until(lambda: room.state("cpu") == OK)
        assert room.gauges["host"]["cpu_pressure_pct"] is None


async def test_a_host_part_can_be_checked_but_not_moved(tmp_path: Path, tree: HostTree) -> None:
    async with health_room(tmp_path, board(tree), running=False) as room:
        assert (await room.monitor.check("memory", "internal")).state == "ok"
        with pytest.raises(BadRequest):
            await room.monitor.check("memory", "external")
        tree.remove("meminfo")
        assert (await room.monitor.check("memory", "internal")).state == "unknown"
