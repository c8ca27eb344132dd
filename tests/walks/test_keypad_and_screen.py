"""Keypad with its reader and a screen on a whole agent: real processes, an emulated board, and no key in any of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from drivers.emulators.control import EmulatorControl
from tests.kit.agent_process import AgentProcess, call
from tests.kit.emulator_program import EmulatorProgram
from tests.kit.keypad_reader import ReaderProcess, reader_process

MODEL = """
schema = 1
title = "Does not sell without keypad and screen"
[devices.keypad-0]
category = "pos_keyboard"
driver = "evdev_keypad"
reader = true
required = true
[devices.screen-0]
category = "screen"
driver = "drm_screen"
required = true
options = { connector = "HDMI-A-1", backlight = "panel" }
[devices.touch-0]
category = "touch"
driver = "evdev_touch"
options = { usb_id = "1209:0002" }
"""
TYPED = [2, 3, 4, 5, 6, 28]
WAIT_S = 40.0


@dataclass
class Counter:
    agent: AgentProcess
    board: EmulatorControl
    keypad: EmulatorControl
    reader: ReaderProcess

    def ask(self, method: str, **params: object) -> dict[str, Any]:
        """An answer of the control socket; `error` where it has one."""
        answer = call(self.agent.run / "control.sock", method, params)
        found: dict[str, Any] = answer["result"] if "result" in answer else answer["error"]
        return found

    def device(self, name: str) -> dict[str, Any]:
        devices: list[dict[str, Any]] = self.ask("health.get")["devices"]
        [found] = [one for one in devices if one["device"] == name]
        return found

    def state(self, name: str) -> tuple[str, str]:
        device = self.device(name)
        return device["state"], device["power_state"]

    def faults(self, name: str) -> dict[str, str]:
        return {one["code"]: one["impact"] for one in self.ask("health.get")["faults"] if one["device"] == name}

    def ready(self) -> bool:
        return bool(self.ask("readiness.get")["ready"])

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, json.dumps(self.ask("health.get"), indent=1)
            time.sleep(0.05)


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    board = EmulatorProgram("board", tmp_path, "--folder", str(tmp_path / "board"))
    node = tmp_path / "board/dev/input/event1"
    keypad = EmulatorProgram("keypad", tmp_path, "--node", str(node))
    port = tmp_path / "board/dev/input/by-path/platform-keypad-event-kbd"
    roots = {"procfs": "proc", "sysfs": "sys", "dev": "dev"}
    paths = {name: str(tmp_path / "board" / below) for name, below in roots.items()}
    config = {
        "terminal": {"site": "shop-1", "terminal": "T-0001", "serial": "SN123", "model": "counter"},
        "paths": {"state": str(tmp_path / "state"), "run": str(tmp_path / "run"), **paths}
        | {"keypad_reports": str(tmp_path / "reports")},
        "devices": {"keypad-0": {"port": str(port)}},
        "health": {"interval_s": 0.2},
    }
    agent = AgentProcess(tmp_path, config)
    (tmp_path / "etc/models").mkdir()
    (tmp_path / "etc/models/counter.toml").write_text(MODEL)
    try:
        with reader_process(node, tmp_path / "reports/keypad-0") as reader, agent:
            yield Counter(agent, board.control, keypad.control, reader)
    finally:
        keypad.stop()
        board.stop()


def test_what_happens_to_keypad_and_screen_is_known_stops_the_sale_and_ends(counter: Counter) -> None:
    names = ("keypad-0", "screen-0", "touch-0")
    counter.until(lambda: [counter.state(name) for name in names] == [("ok", "online")] * 3)
    assert counter.ready()
    assert "no fault found" in counter.device("screen-0")["detail"]
    for control, fault, name, state, code in (
        (counter.keypad, "stuck", "keypad-0", ("failed", "online"), "HW-KPD-002"),
        (counter.keypad, "unplugged", "keypad-0", ("failed", "off"), "HW-KPD-001"),
        (counter.board, "screen_disconnected", "screen-0", ("failed", "off"), "HW-SCR-001"),
        (counter.board, "backlight_off", "screen-0", ("failed", "online"), "HW-SCR-002"),
    ):
        control.set(**{fault: True})
        counter.until(lambda name=name, code=code: counter.faults(name) == {code: "sale"})  # type: ignore[misc]
        assert counter.state(name) == state
        assert not counter.ready()
        control.set(**{fault: False})
        counter.until(lambda name=name: counter.state(name) == ("ok", "online"))  # type: ignore[misc]
        counter.until(counter.ready)
    counter.board.set(touch_gone=True)
    counter.until(lambda: counter.faults("touch-0") == {"HW-SCR-003": "none"})
    assert counter.ready()
    refused = counter.ask(
        "command.run", command_id="c-1", name="check_device", arguments={"device": "keypad-0", "level": "external"}
    )
    assert refused["name"] == "check_device"
    counter.until(lambda: counter.ask("command.get", command_id="c-1")["state"] == "failed")


def test_what_is_typed_is_counted_and_is_nowhere(counter: Counter) -> None:
    counter.until(lambda: counter.state("keypad-0") == ("ok", "online"))
    counter.keypad.do("type", keys=TYPED, hold_s=0.001)
    counter.until(lambda: counter.reader.report()["key_pressed_count"] == len(TYPED))

    counter.until(lambda: counter.ask("metrics.get")["keypad-0"].get("key_pressed_count") == len(TYPED))
    assert set(counter.ask("metrics.get")["keypad-0"]) == {
        *("present", "keys_declared", "key_pressed_count", "key_stuck", "key_chatter"),
    }
    report = set(counter.reader.report())
    assert report == {"schema", "boottime_s", "readable", "stuck", "chatter", "key_pressed_count"}
    assert set(counter.reader.log.read_text().split("\n")) == {"keypad_reader.open", ""}
    for word in ("EV_KEY", "input_event", "event1:"):
        assert word not in counter.agent.log()
