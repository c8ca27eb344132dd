"""The shipped board emulator and the watched board agree: each fault switched on there is the fault found here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.health.catalog import HOST_PARTS, Judging
from agent.health.rules import begin, conclude, observe
from drivers.catalog import HOST_SOURCES
from drivers.host_contract import Board
from tests.kit.emulated_board import emulated_board


def _found(folder: Path, part: str) -> tuple[str, set[str | None]]:
    """State and codes after four looks, half a minute apart."""
    source, entry = HOST_SOURCES[part](Board(folder / "proc", folder / "sys", folder)), HOST_PARTS[part]
    rules = entry.rules(Judging())
    tracks, answered = begin(rules), False
    for turn in range(4):
        sample = entry.sample_of(source.read())
        tracks = observe(rules, tracks, sample, turn * 30.0)
        answered = answered or sample.answered
    verdict = conclude(rules, tracks, answered=answered)
    return verdict.state.value, {rule.code for rule in verdict.active}


@pytest.mark.parametrize("part", sorted(set(HOST_SOURCES) - {"filesystem", "clock"}))
async def test_a_board_without_faults_is_ok_in_every_part(tmp_path: Path, part: str) -> None:
    async with emulated_board(tmp_path) as board:
        assert _found(board.folder, part) == ("ok", set())


@pytest.mark.parametrize(
    ("settings", "part", "state", "code"),
    [
        ({"temperature_c": 97}, "thermal", "degraded", "HST-THM-001"),
        ({"temperature_c": 104}, "thermal", "failed", "HST-THM-001"),
        ({"throttled": True}, "thermal", "degraded", "HST-THM-001"),
        ({"carrier": False}, "link", "failed", "NET-LNK-001"),
        ({"route": False}, "route", "failed", "NET-RTE-001"),
        ({"gateway": False}, "route", "degraded", "NET-GWY-001"),
        ({"mains": False, "battery_pct": 15}, "power", "degraded", "HW-PWR-001"),
        ({"mains": False, "battery_pct": 5}, "power", "failed", "HW-PWR-001"),
        ({"battery_worn": True}, "power", "failed", "HW-PWR-002"),
        ({"wear": 8}, "storage", "degraded", "HST-STO-003"),
        ({"wear": 11}, "storage", "failed", "HST-STO-003"),
        ({"reserve_wear": 3}, "storage", "failed", "HST-STO-003"),
        ({"ext4_errors": 2}, "storage", "degraded", "HST-STO-004"),
        ({"memory_available_pct": 5}, "memory", "failed", "HST-MEM-001"),
    ],
)
async def test_each_fault_of_the_emulator_is_found_by_its_part(
    tmp_path: Path, settings: dict[str, Any], part: str, state: str, code: str
) -> None:
    async with emulated_board(tmp_path) as board:
        board.apply(settings)
        found, codes = _found(board.folder, part)
        assert (found, code in codes) == (state, True)
