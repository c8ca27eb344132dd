"""``reset`` and ``reinit`` on the whole way of an order: strict arguments, one effect, proof, and honest failure."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.commands import readiness_gate, reboot_plan, unit_plans
from agent.contract.command import CommandState, ReasonCode, State
from agent.contract.health import DeviceHealth, HealthSnapshot, PowerState, Readiness, ReadinessReason
from agent.contract.health import State as Health
from agent.contract.journal_views import Verification
from agent.contract.selling import Selling
from drivers.errors import DeviceFault, DeviceOffline
from tests.kit.command_room import Room, open_room, until
from tests.kit.manual_clock import ManualClock
from tests.kit.orders import OPERATOR, SECOND_OPERATOR, Signer, order_payload, signed_order
from tests.kit.paper_machine import OWN, PAYMENT, PRINTD, PaperMachine

AT = "2026-11-21T02:00:00.000Z"
ONE, BOTH = (OPERATOR,), (OPERATOR, SECOND_OPERATOR)


class Printer:
    """A device that can recover and be initialised, and counts it."""

    name, category = "printer-0", "pos_printer"

    def __init__(self) -> None:
        self.recoveries = self.initialisations = self.closes = 0
        self.error: Exception | None = None
        self.state = Health.OK

    async def recover(self, deadline_s: float) -> None:
        self.recoveries += 1
        await self._act()

    async def initialise(self, deadline_s: float) -> None:
        self.initialisations += 1
        await self._act()

    async def close(self) -> None:
        self.closes += 1

    async def _act(self) -> None:
        if self.error is not None:
            raise self.error


class Keypad:
    """A device with nothing to reset."""

    name, category = "keypad-0", "pos_keyboard"

    async def close(self) -> None:
        return None


class Place:
    """A terminal: two devices, a machine, a payment application that reports or not, readiness."""

    def __init__(self) -> None:
        self.printer = Printer()
        self.machine: PaperMachine | None = PaperMachine()
        self.ready = True
        self.intact = True
        self.clock = ManualClock()
        self.heard_s: dict[str, float] = {}
        self.asked: list[tuple[str, str]] = []
        self.applications = {PAYMENT: "shop"}
        self.selling = Selling()

    def means(self) -> dict[str, Any]:
        return {
            "check": self.check,
            "devices": lambda: frozenset({"printer-0", "keypad-0", "memory"}),
            "health": self.health,
            "ports": {"printer-0": self.printer, "keypad-0": Keypad()},
            "machine": self.machine,
            "applications": self.applications,
            "last_report_s": self.heard_s.get,
            "verify_journal": self.verify,
            "selling": lambda: self.selling,
        }

    async def check(self, device: str, level: str) -> DeviceHealth:
        self.asked.append((device, level))
        return DeviceHealth(device, "pos_printer", self.printer.state, PowerState.ONLINE, "as it is", AT, AT)

    async def verify(self) -> Verification:
        return Verification(self.intact, 41, [])

    def health(self) -> HealthSnapshot:
        printer = DeviceHealth("printer-0", "pos_printer", self.printer.state, PowerState.ONLINE, "as it is", AT, AT)
        reasons = () if self.ready else (ReadinessReason("HW-PRN-002", "paper end", AT),)
        return HealthSnapshot((printer,), (), Readiness(self.ready, reasons, AT), AT)

    def room(self, folder: Path) -> Any:
        return open_room(folder, terminal=self.means(), clock=self.clock)


async def _send(
    room: Room, name: str, arguments: Mapping[str, Any], signers: Sequence[Signer] = ONE, **fields: Any
) -> str:
    payload = order_payload(name, arguments, issued_at=room.clock.now(), **fields)
    await room.receive(signed_order(payload, signers), name)
    return str(payload["command_id"])


async def _ended(room: Room, place: Place, command_id: str, step_s: float = 1.0) -> CommandState:
    """The final state, while time goes on."""

    async def there() -> bool:
        place.clock.advance(step_s)
        return (await room.state(command_id)).state.is_final

    await until(there)
    return await room.state(command_id)


async def _done(
    place: Place, folder: Path, name: str, arguments: Mapping[str, Any], signers: Sequence[Signer] = ONE
) -> CommandState:
    async with place.room(folder) as room:
        return await _ended(room, place, await _send(room, name, arguments, signers))


def _result(state: CommandState) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(state.result)
    return found


def _why(state: CommandState) -> tuple[State, ReasonCode | None]:
    return state.state, state.reason.code if state.reason else None


# ── arguments ──────────────────────────────────────────────────────────────────────────────────────────────────
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
    ended = await _done(place, tmp_path, name, arguments)
    assert _why(ended) == (State.REJECTED, code)
    assert ended.reason is not None
    assert ended.reason.text
    assert place.machine is not None
    assert (place.printer.recoveries, place.printer.initialisations, place.printer.closes) == (0, 0, 0)
    assert not place.machine.acts


@pytest.mark.parametrize("level", ["app", "service", "reboot"])
async def test_without_an_adapter_to_the_machine_its_resets_are_refused_and_say_why(level: str, tmp_path: Path) -> None:
    place = Place()
    place.machine = None
    ended = await _done(place, tmp_path, "reset", {"level": level})
    assert _why(ended) == (State.REJECTED, ReasonCode.INVALID_ARGUMENTS)
    assert ended.reason is not None
    assert "machine adapter" in ended.reason.text


@pytest.mark.parametrize("command", [("reset", {"level": "app"}), ("reinit", {"scope": "app"})])
@pytest.mark.parametrize("units", [(), (PAYMENT, PRINTD)])
async def test_which_application_is_meant_must_be_clear(
    command: tuple[str, dict[str, Any]], units: tuple[str, ...], tmp_path: Path
) -> None:
    place = Place()
    place.applications = dict.fromkeys(units, "shop")
    ended = await _done(place, tmp_path, *command)
    assert _why(ended) == (State.REJECTED, ReasonCode.INVALID_ARGUMENTS)


async def test_of_several_applications_the_named_one_is_reset(tmp_path: Path) -> None:
    place = Place()
    place.applications = {PAYMENT: "shop", PRINTD: "other"}
    ended = await _done(place, tmp_path, "reset", {"level": "app", "unit": PRINTD})
    assert ended.state is State.SUCCEEDED
    assert place.machine is not None
    assert place.machine.acts == {f"restart {PRINTD}": 1}


# ── who may ────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_force_and_a_whole_terminal_need_two_people(tmp_path: Path) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        forced = {"level": "device", "device": "printer-0", "force": True}
        first = await _ended(room, place, await _send(room, "reset", forced))
        second = await _ended(room, place, await _send(room, "reset", forced, BOTH))
        serial = {"terminal": "T-0001", "serial": "SN123"}
        whole = {"scope": "terminal"}
        third = await _ended(room, place, await _send(room, "reinit", whole, target=serial))
        fourth = await _ended(room, place, await _send(room, "reinit", whole, BOTH))
        fifth = await _ended(room, place, await _send(room, "reinit", whole, BOTH, target=serial))
    assert _why(first) == (State.REJECTED, ReasonCode.NOT_AUTHORISED)
    assert second.state is State.SUCCEEDED
    assert _why(third) == (State.REJECTED, ReasonCode.NOT_AUTHORISED)
    assert _why(fourth) == (State.REJECTED, ReasonCode.INVALID_REQUEST)
    assert fourth.reason is not None
    assert "serial" in fourth.reason.text
    assert _why(fifth) == (State.REJECTED, ReasonCode.INVALID_ARGUMENTS)


# ── devices ────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_reread_closes_the_port_and_asks_beside_whatever_runs_and_holds_no_sale_up(tmp_path: Path) -> None:
    place = Place()
    place.printer.state = Health.FAILED
    async with place.room(tmp_path) as room:
        room.selling = Selling(lease_left_s=100.0, silent_s=math.inf)
        ended = await _ended(room, place, await _send(room, "reset", {"level": "reread", "device": "printer-0"}))
        board = await _ended(room, place, await _send(room, "reset", {"level": "reread", "device": "memory"}))
    assert (ended.state, _result(ended)["state"]) == (State.SUCCEEDED, "failed"), "not being well is a result"
    assert board.state is State.SUCCEEDED
    assert (place.printer.closes, place.asked) == (1, [("printer-0", "internal"), ("memory", "internal")])


@pytest.mark.parametrize(
    ("command", "counts"),
    [
        (("reset", {"level": "device", "device": "printer-0"}), (1, 0)),
        (("reinit", {"scope": "device", "device": "printer-0"}), (0, 1)),
    ],
)
async def test_a_device_is_acted_on_once_and_asked_afterwards(
    command: tuple[str, dict[str, Any]], counts: tuple[int, int], tmp_path: Path
) -> None:
    place = Place()
    ended = await _done(place, tmp_path, *command)
    assert (ended.state, ended.steps, ended.step) == (State.SUCCEEDED, 3, 3)
    assert (place.printer.recoveries, place.printer.initialisations) == counts
    result = _result(ended)
    assert (result["device"], result["before"]["state"], result["after"]["state"]) == ("printer-0", "ok", "ok")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DeviceFault("printer-0", "cutter error"), ReasonCode.NOT_VERIFIED),
        (DeviceOffline("printer-0", "no answer"), ReasonCode.STEP_FAILED),
    ],
)
async def test_a_device_that_does_not_recover_fails_the_order_after_one_try(
    error: Exception, code: ReasonCode, tmp_path: Path
) -> None:
    place = Place()
    place.printer.error = error
    ended = await _done(place, tmp_path, "reset", {"level": "device", "device": "printer-0"})
    assert _why(ended) == (State.FAILED, code)
    assert place.printer.recoveries == 1


@pytest.mark.parametrize("state", [Health.FAILED, Health.UNKNOWN])
async def test_a_device_that_is_not_well_afterwards_is_not_verified(state: Health, tmp_path: Path) -> None:
    place = Place()
    place.printer.state = state
    ended = await _done(place, tmp_path, "reset", {"level": "device", "device": "printer-0"})
    assert _why(ended) == (State.FAILED, ReasonCode.NOT_VERIFIED)
    assert ended.reason is not None
    assert state.value in ended.reason.text
    assert _result(ended)["before"]["state"] == state.value, "what was seen before stays in the result"


async def test_three_tries_an_hour_at_one_target_then_two_people_or_another_hour(tmp_path: Path) -> None:
    place = Place()
    order = {"level": "device", "device": "printer-0"}
    async with place.room(tmp_path) as room:
        for _ in range(3):
            assert (await _ended(room, place, await _send(room, "reset", order))).state is State.SUCCEEDED
        fourth = await _ended(room, place, await _send(room, "reset", order))
        other = await _ended(room, place, await _send(room, "reset", {"level": "reread", "device": "printer-0"}))
        forced = await _ended(room, place, await _send(room, "reset", {**order, "force": True}, BOTH))
        place.clock.advance(3700)
        later = await _ended(room, place, await _send(room, "reset", order))
    assert _why(fourth) == (State.REJECTED, ReasonCode.TOO_MANY_TRIES)
    assert other.state is State.SUCCEEDED
    assert forced.state is State.SUCCEEDED
    assert [note["code"] for note in _result(forced)["noted"]] == ["TOO_MANY_TRIES"]
    assert later.state is State.SUCCEEDED
    assert place.printer.recoveries == 5


# ── units ──────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_an_application_that_was_silent_is_restarted_and_the_result_says_what_was_pending(
    tmp_path: Path,
) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        room.selling = place.selling = Selling(silent_s=130.0, pending_reversals=2, unknown_results=1, saf_count=3)
        ended = await _ended(room, place, await _send(room, "reset", {"level": "app"}))
    assert place.machine is not None
    assert (ended.state, place.machine.acts) == (State.SUCCEEDED, {f"restart {PAYMENT}": 1})
    result = _result(ended)
    assert (result["unit"], result["application"], result["app_spoke"]) == (PAYMENT, "shop", False)
    assert (result["app_reported"], result["pending_reversals"], result["saf_count"]) == (False, 2, 3)
    assert result["invocation"] != result["invocation_before"]
    noted = {note["code"] for note in result["noted"]}
    assert noted == {"BUSY_UNKNOWN", "PENDING_REVERSALS", "UNKNOWN_RESULTS", "SAF_PENDING"}


@pytest.mark.parametrize("speaks", [True, False])
async def test_an_application_that_spoke_before_must_speak_again(speaks: bool, tmp_path: Path) -> None:
    place = Place()
    place.heard_s[PAYMENT] = place.clock.monotonic()
    async with place.room(tmp_path) as room:
        command_id = await _send(room, "reset", {"level": "app"})

        async def restarted() -> bool:
            place.clock.advance(0.1)
            return bool(place.machine and place.machine.acts)

        await until(restarted)
        await asyncio.sleep(0.05)
        place.clock.advance(0.1)
        if speaks:
            place.heard_s[PAYMENT] = place.clock.monotonic()
        ended = await _ended(room, place, command_id)
    if speaks:
        assert (ended.state, _result(ended)["app_reported"]) == (State.SUCCEEDED, True)
    else:
        assert _why(ended) == (State.FAILED, ReasonCode.NOT_VERIFIED)


@pytest.mark.parametrize("fault", ["comes_up", "starts_afresh"])
@pytest.mark.parametrize("command", [("reset", {"level": "service", "unit": PRINTD}), ("reinit", {"scope": "app"})])
async def test_a_unit_that_is_not_up_afresh_afterwards_is_not_verified(
    command: tuple[str, dict[str, Any]], fault: str, tmp_path: Path
) -> None:
    place = Place()
    assert place.machine is not None
    setattr(place.machine, fault, False)
    ended = await _done(place, tmp_path, *command)
    assert _why(ended) == (State.FAILED, ReasonCode.NOT_VERIFIED)
    assert sum(place.machine.acts.values()) == 1, "asked three times, done once"


async def test_a_terminal_that_could_sell_and_cannot_afterwards_is_not_verified(tmp_path: Path) -> None:
    place = Place()
    assert place.machine is not None
    real = place.machine._act

    async def breaks_the_printer(verb: str, unit: str, order_id: str) -> Any:
        place.ready = False
        return await real(verb, unit, order_id)

    place.machine._act = breaks_the_printer  # type: ignore[method-assign]
    ended = await _done(place, tmp_path, "reset", {"level": "service", "unit": PRINTD})
    assert _why(ended) == (State.FAILED, ReasonCode.NOT_VERIFIED)
    assert ended.reason is not None
    assert "HW-PRN-002" in ended.reason.text
    assert ("printer-0", "internal") in place.asked


async def test_a_terminal_that_could_not_sell_before_need_not_sell_afterwards(tmp_path: Path) -> None:
    place = Place()
    place.ready = False
    ended = await _done(place, tmp_path, "reset", {"level": "service", "unit": PRINTD})
    assert (ended.state, _result(ended)["ready_before"], _result(ended)["ready"]) == (State.SUCCEEDED, False, False)


async def test_a_service_without_a_name_is_the_agent_itself(tmp_path: Path) -> None:
    place = Place()
    ended = await _done(place, tmp_path, "reset", {"level": "service"})
    assert place.machine is not None
    assert (ended.state, place.machine.acts) == (State.SUCCEEDED, {f"restart {OWN}": 1})


async def test_what_the_machine_refuses_fails_the_order_with_the_machines_reason(tmp_path: Path) -> None:
    place = Place()
    assert place.machine is not None
    place.machine.refusal = "TOO_MANY_TRIES"
    ended = await _done(place, tmp_path, "reset", {"level": "app"})
    assert _why(ended) == (State.FAILED, ReasonCode.TOO_MANY_TRIES)


async def test_an_application_is_initialised_only_with_a_whole_journal(tmp_path: Path) -> None:
    place = Place()
    place.intact = False
    ended = await _done(place, tmp_path, "reinit", {"scope": "app"})
    assert place.machine is not None
    assert _why(ended) == (State.FAILED, ReasonCode.NOT_VERIFIED)
    assert not place.machine.acts
    place.intact = True
    (tmp_path / "again").mkdir()
    ended = await _done(place, tmp_path / "again", "reinit", {"scope": "app"})
    assert (ended.state, ended.steps, place.machine.acts) == (State.SUCCEEDED, 4, {f"reinitialise {PAYMENT}": 1})


# ── the machine ────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_reboot_is_proved_by_another_boot_id_after_a_restart_of_the_agent(tmp_path: Path) -> None:
    place = Place()
    assert place.machine is not None
    before = place.machine.boot_id()
    async with place.room(tmp_path) as room:
        command_id = await _send(room, "reset", {"level": "reboot"})

        async def asked() -> bool:
            return bool(place.machine and place.machine.acts)

        await until(asked)
        assert (await room.state(command_id)).state is State.RUNNING
    place.machine.boots()
    async with place.room(tmp_path) as room:
        ended = await _ended(room, place, command_id)
    assert (ended.state, place.machine.acts) == (State.SUCCEEDED, {"reboot": 1})
    result = _result(ended)
    assert (result["boot_id_before"], result["boot_id"]) == (before, place.machine.boot_id())
    assert result["ready"] is True


async def test_an_agent_that_dies_before_the_machine_goes_down_asks_again_and_reboots_once(tmp_path: Path) -> None:
    place = Place()
    assert place.machine is not None
    async with place.room(tmp_path) as room:
        command_id = await _send(room, "reset", {"level": "reboot"})
        await until(lambda: _true(place.machine is not None and bool(place.machine.acts)))
    place.machine.refusal = "INTERRUPTED"  # what a keeper says of an act that was begun and is not ended
    async with place.room(tmp_path) as room:
        for _ in range(20):
            await asyncio.sleep(0.005)
            place.clock.advance(1.0)
        assert (await room.state(command_id)).state is State.RUNNING, "it may be on its way"
    place.machine.boots()
    async with place.room(tmp_path) as room:
        ended = await _ended(room, place, command_id)
    assert (ended.state, place.machine.acts) == (State.SUCCEEDED, {"reboot": 1})


async def test_a_machine_that_does_not_go_down_is_not_verified(tmp_path: Path) -> None:
    place = Place()
    ended = await _done(place, tmp_path, "reset", {"level": "reboot"})
    assert _why(ended) == (State.FAILED, ReasonCode.NOT_VERIFIED)
    assert place.machine is not None
    assert place.machine.acts == {"reboot": 1}


async def test_a_machine_that_cannot_prove_a_reboot_is_not_rebooted(tmp_path: Path) -> None:
    place = Place()
    assert place.machine is not None
    place.machine._boot = "00000000-0000-0000-0000-000000000000"
    ended = await _done(place, tmp_path, "reset", {"level": "reboot"})
    assert _why(ended) == (State.FAILED, ReasonCode.NOT_VERIFIED)
    assert not place.machine.acts


async def test_a_reboot_waits_for_ten_minutes_after_the_last_start_and_can_be_cancelled_meanwhile(
    tmp_path: Path,
) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        room.since_boot_s = 100.0
        command_id = await _send(room, "reset", {"level": "reboot"})
        waiting = await room.reached(command_id, State.WAITING)
        assert waiting.reason is not None
        assert waiting.reason.code is ReasonCode.TOO_MANY_TRIES
        second = await _send(room, "reset", {"level": "reboot"})
        cancel = await _ended(room, place, await _send(room, "cancel", {"command_id": second}))
        assert cancel.state is State.SUCCEEDED
        assert (await room.ended(second)).state is State.CANCELLED
        room.since_boot_s = 601.0
        room.engine.wake()

        async def asked() -> bool:
            place.clock.advance(1.0)
            return bool(place.machine and place.machine.acts)

        await until(asked)


async def test_a_second_reboot_waits_for_ten_minutes_after_the_first(tmp_path: Path) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        first = await _send(room, "reset", {"level": "reboot"})
        await until(lambda: _true(place.machine is not None and bool(place.machine.acts)))
    assert place.machine is not None
    place.machine.boots()
    async with place.room(tmp_path) as room:
        assert (await _ended(room, place, first)).state is State.SUCCEEDED
        second = await _send(room, "reset", {"level": "reboot", "force": True}, BOTH)
        waiting = await room.reached(second, State.WAITING)
        assert waiting.reason is not None
        assert waiting.reason.code is ReasonCode.TOO_MANY_TRIES
        assert place.machine.acts == {"reboot": 1}
        place.clock.advance(601)
        room.engine.wake()
        await until(lambda: _true(place.machine is not None and place.machine.acts["reboot"] == 2))


# ── interlocks on the whole way ────────────────────────────────────────────────────────────────────────────────
async def test_a_sale_holds_an_operation_until_it_is_over(tmp_path: Path) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        room.selling = Selling(lease_left_s=180.0)
        order = {"level": "device", "device": "printer-0", "force": True}
        command_id = await _send(room, "reset", order, BOTH)
        waiting = await room.reached(command_id, State.WAITING)
        assert waiting.reason is not None
        assert waiting.reason.code is ReasonCode.SALE_RUNNING
        assert place.printer.recoveries == 0
        room.selling = Selling()
        room.engine.wake()
        assert (await _ended(room, place, command_id)).state is State.SUCCEEDED


async def test_no_sale_can_begin_between_the_last_look_and_the_beginning(tmp_path: Path) -> None:
    """A desk that begins a sale as soon as it can: whenever no operation is seen to run, in any turn of the loop."""
    place = Place()
    async with place.room(tmp_path) as room:
        both: list[str] = []
        stop = False

        async def seller() -> None:
            while not stop:
                if room.selling.lease_left_s is None and room.engine.exclusive is None:
                    room.selling = Selling(lease_left_s=5.0)  # granted: nothing has the terminal
                    await asyncio.sleep(0)
                    if room.engine.exclusive is not None:
                        both.append("an operation began within a sale")
                    room.selling = Selling()
                    room.engine.wake()
                await asyncio.sleep(0)

        selling = asyncio.ensure_future(seller())
        command_id = await _send(room, "reset", {"level": "device", "device": "printer-0"})
        await _ended(room, place, command_id)
        stop = True
        await selling
    assert both == []
    assert place.printer.recoveries == 1


@pytest.mark.parametrize(
    ("selling", "arguments", "code"),
    [
        (Selling(silent_s=200.0), {"level": "device", "device": "printer-0"}, ReasonCode.BUSY_UNKNOWN),
        (Selling(pending_reversals=1), {"level": "reboot"}, ReasonCode.PENDING_REVERSALS),
        (Selling(unknown_results=1), {"level": "reboot"}, ReasonCode.UNKNOWN_RESULTS),
        (Selling(pending_reversals=1), {"level": "service"}, ReasonCode.PENDING_REVERSALS),
    ],
)
async def test_what_endangers_money_is_rejected_and_two_people_can_have_it_noted_instead(
    selling: Selling, arguments: dict[str, Any], code: ReasonCode, tmp_path: Path
) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        room.selling = selling
        plain = await _ended(room, place, await _send(room, "reset", arguments))
        forced = await _send(room, "reset", {**arguments, "force": True}, BOTH)

        async def begun() -> bool:
            place.clock.advance(0.1)
            return msgspec.json.decode((await room.state(forced)).result) is not None

        await until(begun)
        noted = [note["code"] for note in _result(await room.state(forced))["noted"]]
    assert _why(plain) == (State.REJECTED, code)
    assert code in noted


async def test_an_unsettled_batch_blocks_what_clears_an_applications_queues(tmp_path: Path) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        room.unsettled = "000012"
        blocked = await _ended(room, place, await _send(room, "reinit", {"scope": "app"}))
        restarted = await _ended(room, place, await _send(room, "reset", {"level": "app"}))
    assert _why(blocked) == (State.REJECTED, ReasonCode.BATCH_UNSETTLED)
    assert restarted.state is State.SUCCEEDED
    assert [note["code"] for note in _result(restarted)["noted"]] == ["BATCH_UNSETTLED"]


async def test_an_order_held_back_by_silence_ends_at_its_expiry(tmp_path: Path) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        room.selling = Selling(silent_s=100.0)
        command_id = await _send(room, "reset", {"level": "app"}, lifetime=timedelta(minutes=30))
        waiting = await room.reached(command_id, State.WAITING)
        assert waiting.reason is not None
        assert waiting.reason.code is ReasonCode.BUSY_UNKNOWN
        ended = await _ended(room, place, command_id, step_s=60.0)
    assert _why(ended) == (State.EXPIRED, ReasonCode.EXPIRED)


async def test_after_a_start_the_gate_waits_for_the_applications_to_report(tmp_path: Path) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        command_id = await _send(room, "reset", {"level": "reboot"})
        await until(lambda: _true(place.machine is not None and bool(place.machine.acts)))
    assert place.machine is not None
    place.machine.boots()
    place.selling = Selling(start_left_s=170.0)
    async with place.room(tmp_path) as room:
        for _ in range(20):
            place.clock.advance(1.0)
            await asyncio.sleep(0.005)
        assert (await room.state(command_id)).state is State.RUNNING
        place.selling = Selling()
        assert (await _ended(room, place, command_id)).state is State.SUCCEEDED


def test_every_step_has_more_time_than_what_it_waits_for() -> None:
    waits = unit_plans.ACTIVE_WITHIN_S + unit_plans.REPORTS_WITHIN_S + readiness_gate.READY_WITHIN_S
    assert waits + 30 < unit_plans.VERIFY_TIMEOUT_S
    assert reboot_plan.DOWN_WITHIN_S > 90


async def _true(value: bool) -> bool:
    return value
