"""Keypad, touch panel and screen in the monitor, on the emulated board: what each fault becomes, and what it stops."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.contract.health import PowerState, State
from agent.errors import BadRequest
from agent.health.catalog import device_subject
from agent.health.probes import pos_keyboard, screen, touch
from agent.health.rules import begin, conclude, observe
from agent.health.sample import Sample
from agent.health.subject import Subject
from drivers.contract import OptionValue
from drivers.emulators.board import BoardEmulator
from drivers.pos_keyboard import report_wire
from drivers.pos_keyboard.evdev import boottime_s
from drivers.pos_keyboard.key_report import KeyReport
from drivers.sysfs_contract import Backlight, Connector, KeypadReading, ScreenReading, TouchReading
from tests.kit.emulated_board import (
    KEYPAD_BY_NAME,
    KEYPAD_FILES,
    SCREEN_FILES,
    TOUCH_BY_NAME,
    WHOLE_SCREEN,
    emulated_board,
    on_board,
)
from tests.kit.health_room import HealthRoom, health_room, until

DRIVERS: dict[str, tuple[str, dict[str, OptionValue]]] = {
    "keypad-0": ("evdev_keypad", KEYPAD_BY_NAME),
    "touch-0": ("evdev_touch", TOUCH_BY_NAME),
    "screen-0": ("drm_screen", WHOLE_SCREEN),
}


def subject(board: BoardEmulator, name: str, *, required: bool = False, **traits: bool) -> Subject:
    driver, options = DRIVERS[name]
    device = on_board(board, driver, options, reader=traits.get("has_reader", False))
    return device_subject(device, required=required, **traits)


def detail(room: HealthRoom, device: str) -> str:
    (found,) = [one for one in room.monitor.snapshot().devices if one.device == device]
    return found.detail


# ── through the monitor ────────────────────────────────────────────────────────────────────────────────────────
async def test_a_healthy_device_is_ok_and_says_no_more_than_was_seen(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        subjects = [subject(board, name) for name in DRIVERS]
        async with health_room(tmp_path, subjects) as room:
            await until(lambda: all(room.state(name) == ("ok", "online") for name in DRIVERS))
            assert detail(room, "screen-0").startswith("no fault found")
            for name in ("keypad-0", "touch-0"):
                assert "only a person can tell" in detail(room, name)
            assert room.gauges["keypad-0"] == {"present": 1, "keys_declared": 17}
            assert room.gauges["screen-0"]["brightness_pct"] == 80.0
            assert room.faults() == {}


@pytest.mark.parametrize(
    ("device", "settings", "traits", "expected"),
    [
        ("keypad-0", {"keypad_gone": True}, {}, ("failed", "off", "HW-KPD-001")),
        ("touch-0", {"touch_gone": True}, {}, ("failed", "off", "HW-SCR-003")),
        ("screen-0", {"screen_disconnected": True}, {}, ("failed", "off", "HW-SCR-001")),
        ("screen-0", {"vanish": "sys/class/drm"}, {}, ("failed", "off", "HW-SCR-001")),
        ("screen-0", {"vanish": "sys/class/backlight"}, {}, ("failed", "online", "HW-SCR-002")),
        ("screen-0", {"backlight_off": True}, {}, ("failed", "online", "HW-SCR-002")),
        ("screen-0", {"brightness": 0}, {}, ("failed", "online", "HW-SCR-002")),
        ("screen-0", {"screen_off": True}, {"must_be_on": True}, ("failed", "online", "HW-SCR-002")),
        ("screen-0", {"edid_corrupt": True}, {}, ("degraded", "online", "HW-SCR-001")),
        ("screen-0", {"edid_missing": True}, {"needs_edid": True}, ("degraded", "online", "HW-SCR-001")),
    ],
)
async def test_each_fault_is_raised_stops_the_sale_only_where_the_device_is_required_and_ends(
    tmp_path: Path, device: str, settings: dict[str, Any], traits: dict[str, bool], expected: tuple[str, str, str]
) -> None:
    *state, code = expected
    async with emulated_board(tmp_path) as board:
        healthy = {name: getattr(board.settings, name) for name in settings}
        folders = [tmp_path / name for name in ("required", "welcome")]
        for folder in folders:
            folder.mkdir()
        async with (
            health_room(folders[0], [subject(board, device, required=True, **traits)]) as required,
            health_room(folders[1], [subject(board, device, **traits)]) as welcome,
        ):
            rooms = (required, welcome)
            await until(lambda: all(room.state(device)[0] == "ok" and room.ready() for room in rooms))
            board.apply(settings)
            await until(lambda: all(room.faults() for room in rooms))
            assert [room.state(device) for room in rooms] == [tuple(state)] * 2
            stops = state[0] == "failed"
            assert required.faults() == {code: "sale" if stops else "none"}
            assert required.ready() is not stops
            assert (welcome.faults(), welcome.ready()) == ({code: "none"}, True)
            board.apply(healthy)
            await until(lambda: all(room.state(device)[0] == "ok" for room in rooms))
            assert [(room.faults(), room.ready()) for room in rooms] == [({}, True)] * 2


async def test_a_screen_in_standby_is_ok_and_says_so(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        board.apply({"screen_off": True})
        async with health_room(tmp_path, [subject(board, "screen-0", required=True, needs_edid=True)]) as room:
            await until(lambda: room.state("screen-0")[0] == "ok")
            assert "no fault found" in detail(room, "screen-0")
            assert "standby" in detail(room, "screen-0")
            assert room.ready()


@pytest.mark.parametrize("way", ["empty", "rubbish", "block", "vanish"])
async def test_a_file_that_cannot_be_read_makes_its_device_unknown_and_no_other(tmp_path: Path, way: str) -> None:
    async with emulated_board(tmp_path) as board:
        subjects = [subject(board, name, required=name == "screen-0") for name in DRIVERS]
        async with health_room(tmp_path, subjects) as room:
            await until(lambda: all(room.state(name)[0] == "ok" for name in DRIVERS))
            board.apply({way: f"{SCREEN_FILES}/status"})
            await until(lambda: room.state("screen-0")[0] == "unknown")
            assert not room.ready()  # required, and nothing is known
            assert room.faults() == {}
            assert [room.state(name)[0] for name in ("keypad-0", "touch-0")] == ["ok", "ok"]
            board.apply({way: ""})
            await until(lambda: room.state("screen-0")[0] == "ok")
            assert room.ready()


async def test_a_blocked_file_of_the_keypad_is_never_taken_for_a_keypad_that_is_well(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        board.apply({"block": f"{KEYPAD_FILES}/device/capabilities/key"})
        async with health_room(tmp_path, [subject(board, "keypad-0"), subject(board, "touch-0")]) as room:
            await until(lambda: room.state("touch-0")[0] == "ok")
            await until(lambda: "blocks the reader" in detail(room, "keypad-0"))
            assert room.state("keypad-0")[0] == "unknown"
            board.apply({"block": ""})
            await until(lambda: room.state("keypad-0")[0] == "ok")


async def test_none_of_them_has_an_external_test_and_an_internal_one_answers(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        subjects = [subject(board, name) for name in DRIVERS]
        async with health_room(tmp_path, subjects, running=False) as room:
            for name in DRIVERS:
                with pytest.raises(BadRequest, match="no external test"):
                    await room.monitor.check(name, "external")
                assert (await room.monitor.check(name, "internal")).state is State.OK
            board.apply({"keypad_gone": True})
            health = await room.monitor.check("keypad-0", "internal")
            assert (health.state, health.power_state) == (State.FAILED, PowerState.OFF)
            assert "unplugged" in health.detail


def write_report(board: BoardEmulator, report: KeyReport) -> None:
    path = report_wire.report_path(board.folder.parent / "reports", "keypad-0")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_bytes(report_wire.encode(report, boottime_s()))
    beside.replace(path)


async def test_what_the_reader_reports_becomes_faults_and_counts(tmp_path: Path) -> None:
    async with emulated_board(tmp_path) as board:
        write_report(board, KeyReport(True, False, False, 0))
        async with health_room(tmp_path, [subject(board, "keypad-0", required=True, has_reader=True)]) as room:
            await until(lambda: room.state("keypad-0")[0] == "ok")
            write_report(board, KeyReport(True, False, True, 7))
            await until(lambda: room.faults() == {"HW-KPD-003": "none"})
            assert room.ready()
            write_report(board, KeyReport(True, True, False, 9))
            await until(lambda: room.faults() == {"HW-KPD-002": "sale"})
            assert room.state("keypad-0") == ("failed", "online")
            assert not room.ready()
            write_report(board, KeyReport(True, False, False, 12))
            await until(lambda: room.faults() == {})
            assert room.gauges["keypad-0"] == {
                "present": 1,
                "keys_declared": 17,
                "key_pressed_count": 12,
                "key_stuck": 0,
                "key_chatter": 0,
            }
            await asyncio.sleep(0)


# ── samples and rules ──────────────────────────────────────────────────────────────────────────────────────────
KEYPAD_RULES = pos_keyboard.rules(has_reader=True)


def lived(samples: list[Sample], *, every_s: float) -> tuple[State, str]:
    tracks = begin(KEYPAD_RULES)
    for number, sample in enumerate(samples):
        tracks = observe(KEYPAD_RULES, tracks, sample, number * every_s)
    verdict = conclude(KEYPAD_RULES, tracks, answered=True)
    return verdict.state, verdict.detail


def reported(stuck: bool) -> Sample:
    return pos_keyboard.sample_of(KeypadReading(None, 17, KeyReport(True, stuck, False, 3)))


SILENT = pos_keyboard.sample_of(KeypadReading(None, 17, None, "the last report of its reader is old"))


def test_a_dead_reader_makes_the_keypad_unknown_after_a_while_and_never_a_stuck_key_good() -> None:
    assert lived([reported(False), SILENT], every_s=10)[0] is State.OK
    state, words = lived([reported(False), SILENT, SILENT, SILENT], every_s=10)
    assert state is State.UNKNOWN
    assert "is not known" in words
    assert lived([reported(True), *[SILENT] * 9], every_s=10)[0] is State.FAILED
    assert lived([reported(False), *[SILENT] * 9, reported(False)], every_s=10)[0] is State.OK


def test_a_reader_that_cannot_open_the_keypad_is_as_good_as_none() -> None:
    sample = pos_keyboard.sample_of(KeypadReading(None, 17, KeyReport(False, None, None, 3)))
    assert sample.seen == {"reader_silent": True, "stuck": None, "chatter": None}
    assert "cannot open it" in sample.details["reader_silent"]
    assert sample.readings["key_stuck"] is None


def test_a_missing_keypad_says_why_and_tells_nothing_of_its_keys() -> None:
    sample = pos_keyboard.sample_of(KeypadReading("unplugged", None))
    assert not sample.answered
    assert sample.details["missing"] == "is missing: unplugged"
    assert sample.readings == {"present": 0}


LIT = Backlight(80, 80, 100, powered=True)
UNLIT = Backlight(80, 0, 100, powered=False)


@pytest.mark.parametrize(
    ("reading", "seen"),
    [
        (ScreenReading(False, None, True, LIT), {"dark": False, "off": False, "backlight_missing": False}),
        (ScreenReading(False, None, True, UNLIT), {"dark": False, "off": True, "backlight_missing": False}),
        (
            ScreenReading(True, Connector("unknown", True, "On", 0, 0, None), False, None),
            {"untold": True, "edid_damaged": None, "edid_lost": None, "off": False},
        ),
        (ScreenReading(True, None, False, None), {"missing": True}),
        (ScreenReading(True, Connector("disconnected", False, "Off", 0, 0, None), False, None), {"disconnected": True}),
    ],
)
def test_what_a_screen_does_not_show_is_not_concluded(reading: ScreenReading, seen: dict[str, bool | None]) -> None:
    assert screen.sample_of(reading).seen == seen


def test_each_probe_refuses_the_reading_of_another_category() -> None:
    readings = (KeypadReading(None, 1), TouchReading(None), ScreenReading(False, None, False, None))
    for number, probe in enumerate((pos_keyboard, touch, screen)):
        for other in readings[:number] + readings[number + 1 :]:
            with pytest.raises(TypeError):
                probe.sample_of(other)
