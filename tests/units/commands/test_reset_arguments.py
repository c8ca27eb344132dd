"""``reset``, ``reinit`` and ``cancel``: strict arguments, and who may order which form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.contract.command import ReasonCode, State
from tests.kit.operation_room import BOTH, Place, done, ended, send, why
from tests.kit.paper_machine import OWN, PAYMENT, PRINTD


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("reset", {}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "factory"}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "device"}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "reread"}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "device", "device": "printer-9"}, ReasonCode.DEVICE_UNKNOWN),
        ("reset", {"level": "reread", "device": "printer-9"}, ReasonCode.DEVICE_UNKNOWN),
        ("reset", {"level": "device", "device": "keypad-0"}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "device", "device": "memory"}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "device", "device": "printer-0", "unit": PAYMENT}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "app", "device": "printer-0"}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "reboot", "unit": PAYMENT}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "reboot", "device": "printer-0"}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "app", "unit": PRINTD}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "app", "unit": OWN}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "service", "unit": "sshd.service"}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "service", "unit": "../x.service"}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "service", "unit": "payment.service\n"}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "device", "device": "printer-0\n"}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "app", "force": "yes"}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "app", "now": True}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "power_cycle"}, ReasonCode.INVALID_ARGUMENTS),
        ("reset", {"level": "power_cycle", "device": "printer-0"}, ReasonCode.INVALID_ARGUMENTS),
        ("reinit", {}, ReasonCode.INVALID_ARGUMENTS),
        ("reinit", {"scope": "device"}, ReasonCode.INVALID_ARGUMENTS),
        ("reinit", {"scope": "app", "device": "printer-0"}, ReasonCode.INVALID_ARGUMENTS),
        ("reinit", {"scope": "device", "device": "printer-9"}, ReasonCode.DEVICE_UNKNOWN),
        ("reinit", {"scope": "device", "device": "keypad-0"}, ReasonCode.INVALID_ARGUMENTS),
        ("reinit", {"scope": "everything"}, ReasonCode.INVALID_ARGUMENTS),
        ("cancel", {}, ReasonCode.INVALID_ARGUMENTS),
        ("cancel", {"command_id": "../c"}, ReasonCode.INVALID_ARGUMENTS),
        ("cancel", {"command_id": "c", "force": True}, ReasonCode.INVALID_ARGUMENTS),
    ],
)
async def test_wrong_arguments_are_refused_with_their_reason_and_touch_nothing(
    name: str, arguments: dict[str, Any], code: ReasonCode, tmp_path: Path
) -> None:
    place = Place()
    final = await done(place, tmp_path, name, arguments)
    assert why(final) == (State.REJECTED, code)
    assert final.reason is not None
    assert final.reason.text
    assert place.machine is not None
    assert (place.printer.recoveries, place.printer.initialisations, place.printer.closes) == (0, 0, 0)
    assert not place.machine.acts


@pytest.mark.parametrize("level", ["app", "service", "reboot"])
async def test_without_an_adapter_to_the_machine_its_resets_are_refused_and_say_why(level: str, tmp_path: Path) -> None:
    place = Place()
    place.machine = None
    final = await done(place, tmp_path, "reset", {"level": level})
    assert why(final) == (State.REJECTED, ReasonCode.INVALID_ARGUMENTS)
    assert final.reason is not None
    assert "machine adapter" in final.reason.text


@pytest.mark.parametrize("command", [("reset", {"level": "app"}), ("reinit", {"scope": "app"})])
@pytest.mark.parametrize("units", [(), (PAYMENT, PRINTD)])
async def test_which_application_is_meant_must_be_clear(
    command: tuple[str, dict[str, Any]], units: tuple[str, ...], tmp_path: Path
) -> None:
    place = Place()
    place.applications = dict.fromkeys(units, "shop")
    final = await done(place, tmp_path, *command)
    assert why(final) == (State.REJECTED, ReasonCode.INVALID_ARGUMENTS)


async def test_of_several_applications_the_named_one_is_reset(tmp_path: Path) -> None:
    place = Place()
    place.applications = {PAYMENT: "shop", PRINTD: "other"}
    final = await done(place, tmp_path, "reset", {"level": "app", "unit": PRINTD})
    assert final.state is State.SUCCEEDED
    assert place.machine is not None
    assert place.machine.acts == {f"restart {PRINTD}": 1}


async def test_force_and_a_whole_terminal_need_two_people(tmp_path: Path) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        forced = {"level": "device", "device": "printer-0", "force": True}
        first = await ended(room, place, await send(room, "reset", forced))
        second = await ended(room, place, await send(room, "reset", forced, BOTH))
        serial = {"terminal": "T-0001", "serial": "SN123"}
        whole = {"scope": "terminal"}
        third = await ended(room, place, await send(room, "reinit", whole, target=serial))
        fourth = await ended(room, place, await send(room, "reinit", whole, BOTH))
        fifth = await ended(room, place, await send(room, "reinit", whole, BOTH, target=serial))
    assert why(first) == (State.REJECTED, ReasonCode.NOT_AUTHORISED)
    assert second.state is State.SUCCEEDED
    assert why(third) == (State.REJECTED, ReasonCode.NOT_AUTHORISED)
    assert why(fourth) == (State.REJECTED, ReasonCode.INVALID_REQUEST)
    assert fourth.reason is not None
    assert "serial" in fourth.reason.text
    assert why(fifth) == (State.REJECTED, ReasonCode.INVALID_ARGUMENTS)
