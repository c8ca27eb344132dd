"""``reset`` and ``reinit`` of devices and units, on the whole way of an order: one effect, proof, honest failure."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from agent.contract.command import ReasonCode, State
from agent.contract.health import State as Health
from agent.contract.selling import Selling
from drivers.errors import DeviceFault, DeviceOffline
from tests.kit.command_room import until
from tests.kit.operation_room import BOTH, Place, done, ended, result_of, send, why
from tests.kit.paper_machine import OWN, PAYMENT, PRINTD


async def test_reread_closes_the_port_and_asks_beside_whatever_runs_and_holds_no_sale_up(tmp_path: Path) -> None:
    place = Place()
    place.printer.state = Health.FAILED
    async with place.room(tmp_path) as room:
        room.selling = Selling(lease_left_s=100.0, silent_s=math.inf)
        final = await ended(room, place, await send(room, "reset", {"level": "reread", "device": "printer-0"}))
        board = await ended(room, place, await send(room, "reset", {"level": "reread", "device": "memory"}))
    assert (final.state, result_of(final)["state"]) == (State.SUCCEEDED, "failed"), "not being well is a result"
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
    final = await done(place, tmp_path, *command)
    assert (final.state, final.steps, final.step) == (State.SUCCEEDED, 3, 3)
    assert (place.printer.recoveries, place.printer.initialisations) == counts
    result = result_of(final)
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
    final = await done(place, tmp_path, "reset", {"level": "device", "device": "printer-0"})
    assert why(final) == (State.FAILED, code)
    assert place.printer.recoveries == 1


@pytest.mark.parametrize("state", [Health.FAILED, Health.UNKNOWN])
async def test_a_device_that_is_not_well_afterwards_is_not_verified(state: Health, tmp_path: Path) -> None:
    place = Place()
    place.printer.state = state
    final = await done(place, tmp_path, "reset", {"level": "device", "device": "printer-0"})
    assert why(final) == (State.FAILED, ReasonCode.NOT_VERIFIED)
    assert final.reason is not None
    assert state.value in final.reason.text
    assert result_of(final)["before"]["state"] == state.value, "what was seen before stays in the result"


async def test_three_failures_an_hour_at_one_target_then_two_people_or_another_hour(tmp_path: Path) -> None:
    place = Place()
    order = {"level": "device", "device": "printer-0"}
    async with place.room(tmp_path) as room:
        for _ in range(4):  # what helps is no try too many
            assert (await ended(room, place, await send(room, "reset", order))).state is State.SUCCEEDED
        place.printer.state = Health.FAILED
        for _ in range(3):
            assert (await ended(room, place, await send(room, "reset", order))).state is State.FAILED
        one_more = await ended(room, place, await send(room, "reset", order))
        other = await ended(room, place, await send(room, "reset", {"level": "reread", "device": "printer-0"}))
        place.printer.state = Health.OK
        forced = await ended(room, place, await send(room, "reset", {**order, "force": True}, BOTH))
        place.clock.advance(3700)
        later = await ended(room, place, await send(room, "reset", order))
    assert why(one_more) == (State.REJECTED, ReasonCode.TOO_MANY_TRIES)
    assert other.state is State.SUCCEEDED
    assert forced.state is State.SUCCEEDED
    assert [note["code"] for note in result_of(forced)["noted"]] == ["TOO_MANY_TRIES"]
    assert later.state is State.SUCCEEDED
    assert place.printer.recoveries == 9


async def test_an_application_that_was_silent_is_restarted_and_the_result_says_what_was_pending(
    tmp_path: Path,
) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        room.selling = place.selling = Selling(silent_s=130.0, pending_reversals=2, unknown_results=1, saf_count=3)
        final = await ended(room, place, await send(room, "reset", {"level": "app"}))
    assert place.machine is not None
    assert (final.state, place.machine.acts) == (State.SUCCEEDED, {f"restart {PAYMENT}": 1})
    result = result_of(final)
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
        command_id = await send(room, "reset", {"level": "app"})

        async def restarted() -> bool:
            place.clock.advance(0.1)
            return bool(place.machine and place.machine.acts)

        await until(restarted)
        await asyncio.sleep(0.05)
        place.clock.advance(0.1)
        if speaks:
            place.heard_s[PAYMENT] = place.clock.monotonic()
        final = await ended(room, place, command_id)
    if speaks:
        assert (final.state, result_of(final)["app_reported"]) == (State.SUCCEEDED, True)
    else:
        assert why(final) == (State.FAILED, ReasonCode.NOT_VERIFIED)


@pytest.mark.parametrize("fault", ["comes_up", "starts_afresh"])
@pytest.mark.parametrize("command", [("reset", {"level": "service", "unit": PRINTD}), ("reinit", {"scope": "app"})])
async def test_a_unit_that_is_not_up_afresh_afterwards_is_not_verified(
    command: tuple[str, dict[str, Any]], fault: str, tmp_path: Path
) -> None:
    place = Place()
    assert place.machine is not None
    setattr(place.machine, fault, False)
    final = await done(place, tmp_path, *command)
    assert why(final) == (State.FAILED, ReasonCode.NOT_VERIFIED)
    assert sum(place.machine.acts.values()) == 1, "asked three times, done once"


async def test_a_terminal_that_could_sell_and_cannot_afterwards_is_not_verified(tmp_path: Path) -> None:
    place = Place()
    assert place.machine is not None
    real = place.machine._act

    async def breaks_the_printer(verb: str, unit: str, order_id: str) -> Any:
        place.ready = False
        return await real(verb, unit, order_id)

    place.machine._act = breaks_the_printer  # type: ignore[method-assign]
    final = await done(place, tmp_path, "reset", {"level": "service", "unit": PRINTD})
    assert why(final) == (State.FAILED, ReasonCode.NOT_VERIFIED)
    assert final.reason is not None
    assert "HW-PRN-002" in final.reason.text
    assert ("printer-0", "internal") in place.asked


async def test_a_terminal_that_could_not_sell_before_need_not_sell_afterwards(tmp_path: Path) -> None:
    place = Place()
    place.ready = False
    final = await done(place, tmp_path, "reset", {"level": "service", "unit": PRINTD})
    assert (final.state, result_of(final)["ready_before"], result_of(final)["ready"]) == (State.SUCCEEDED, False, False)


async def test_a_service_without_a_name_is_the_agent_itself(tmp_path: Path) -> None:
    place = Place()
    final = await done(place, tmp_path, "reset", {"level": "service"})
    assert place.machine is not None
    assert (final.state, place.machine.acts) == (State.SUCCEEDED, {f"restart {OWN}": 1})


async def test_what_the_machine_refuses_fails_the_order_with_the_machines_reason(tmp_path: Path) -> None:
    place = Place()
    assert place.machine is not None
    place.machine.refusal = "TOO_MANY_TRIES"
    final = await done(place, tmp_path, "reset", {"level": "app"})
    assert why(final) == (State.FAILED, ReasonCode.TOO_MANY_TRIES)


async def test_an_application_is_initialised_only_with_a_whole_journal(tmp_path: Path) -> None:
    place = Place()
    place.intact = False
    final = await done(place, tmp_path, "reinit", {"scope": "app"})
    assert place.machine is not None
    assert why(final) == (State.FAILED, ReasonCode.NOT_VERIFIED)
    assert not place.machine.acts
    place.intact = True
    (tmp_path / "again").mkdir()
    final = await done(place, tmp_path / "again", "reinit", {"scope": "app"})
    assert (final.state, final.steps, place.machine.acts) == (State.SUCCEEDED, 4, {f"reinitialise {PAYMENT}": 1})
