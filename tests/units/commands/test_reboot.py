"""``reset reboot``: proof by another boot id, across restarts of the agent, and time between reboots."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agent.commands import readiness_gate, reboot_plan, unit_plans
from agent.contract.command import ReasonCode, State
from agent.contract.selling import Selling
from tests.kit.command_room import until
from tests.kit.operation_room import BOTH, Place, done, ended, result_of, send, true, why


async def test_a_reboot_is_proved_by_another_boot_id_after_a_restart_of_the_agent(tmp_path: Path) -> None:
    place = Place()
    assert place.machine is not None
    before = place.machine.boot_id()
    async with place.room(tmp_path) as room:
        command_id = await send(room, "reset", {"level": "reboot"})

        async def asked() -> bool:
            return bool(place.machine and place.machine.acts)

        await until(asked)
        assert (await room.state(command_id)).state is State.RUNNING
    place.machine.boots()
    async with place.room(tmp_path) as room:
        final = await ended(room, place, command_id)
    assert (final.state, place.machine.acts) == (State.SUCCEEDED, {"reboot": 1})
    result = result_of(final)
    assert (result["boot_id_before"], result["boot_id"]) == (before, place.machine.boot_id())
    assert result["ready"] is True


async def test_an_agent_that_dies_before_the_machine_goes_down_asks_again_and_reboots_once(tmp_path: Path) -> None:
    place = Place()
    assert place.machine is not None
    async with place.room(tmp_path) as room:
        command_id = await send(room, "reset", {"level": "reboot"})
        await until(lambda: true(place.machine is not None and bool(place.machine.acts)))
    place.machine.refusal = "INTERRUPTED"  # what a keeper says of an act that was begun and is not final
    async with place.room(tmp_path) as room:
        for _ in range(20):
            await asyncio.sleep(0.005)
            place.clock.advance(1.0)
        assert (await room.state(command_id)).state is State.RUNNING, "it may be on its way"
    place.machine.boots()
    async with place.room(tmp_path) as room:
        final = await ended(room, place, command_id)
    assert (final.state, place.machine.acts) == (State.SUCCEEDED, {"reboot": 1})


async def test_a_machine_that_does_not_go_down_is_not_verified(tmp_path: Path) -> None:
    place = Place()
    final = await done(place, tmp_path, "reset", {"level": "reboot"})
    assert why(final) == (State.FAILED, ReasonCode.NOT_VERIFIED)
    assert place.machine is not None
    assert place.machine.acts == {"reboot": 1}


async def test_a_reboot_that_the_machine_does_not_allow_fails_at_once_and_holds_up_no_sale(tmp_path: Path) -> None:
    place = Place()
    assert place.machine is not None
    place.machine.refusal = "NOT_AUTHORISED"  # root's own list says so
    began_s = place.clock.monotonic()
    final = await done(place, tmp_path, "reset", {"level": "reboot"})
    assert why(final) == (State.FAILED, ReasonCode.NOT_AUTHORISED)
    assert place.clock.monotonic() - began_s < reboot_plan.DOWN_WITHIN_S / 2


async def test_a_machine_that_cannot_prove_a_reboot_is_not_rebooted(tmp_path: Path) -> None:
    place = Place()
    assert place.machine is not None
    place.machine._boot = "00000000-0000-0000-0000-000000000000"
    final = await done(place, tmp_path, "reset", {"level": "reboot"})
    assert why(final) == (State.FAILED, ReasonCode.NOT_VERIFIED)
    assert not place.machine.acts


async def test_a_reboot_waits_for_ten_minutes_after_the_last_start_and_can_be_cancelled_meanwhile(
    tmp_path: Path,
) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        room.since_boot_s = 100.0
        command_id = await send(room, "reset", {"level": "reboot"})
        waiting = await room.reached(command_id, State.WAITING)
        assert waiting.reason is not None
        assert waiting.reason.code is ReasonCode.TOO_MANY_TRIES
        second = await send(room, "reset", {"level": "reboot"})
        cancel = await ended(room, place, await send(room, "cancel", {"command_id": second}))
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
        first = await send(room, "reset", {"level": "reboot"})
        await until(lambda: true(place.machine is not None and bool(place.machine.acts)))
    assert place.machine is not None
    place.machine.boots()
    async with place.room(tmp_path) as room:
        assert (await ended(room, place, first)).state is State.SUCCEEDED
        second = await send(room, "reset", {"level": "reboot", "force": True}, BOTH)
        waiting = await room.reached(second, State.WAITING)
        assert waiting.reason is not None
        assert waiting.reason.code is ReasonCode.TOO_MANY_TRIES
        assert place.machine.acts == {"reboot": 1}
        place.clock.advance(601)
        room.engine.wake()
        await until(lambda: true(place.machine is not None and place.machine.acts["reboot"] == 2))


async def test_after_a_start_the_gate_waits_for_the_applications_to_report(tmp_path: Path) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        command_id = await send(room, "reset", {"level": "reboot"})
        await until(lambda: true(place.machine is not None and bool(place.machine.acts)))
    assert place.machine is not None
    place.machine.boots()
    place.selling = Selling(start_left_s=170.0)
    async with place.room(tmp_path) as room:
        for _ in range(20):
            place.clock.advance(1.0)
            await asyncio.sleep(0.005)
        assert (await room.state(command_id)).state is State.RUNNING
        place.selling = Selling()
        assert (await ended(room, place, command_id)).state is State.SUCCEEDED


def test_every_step_has_more_time_than_what_it_waits_for() -> None:
    waits = unit_plans.ACTIVE_WITHIN_S + unit_plans.REPORTS_WITHIN_S + readiness_gate.READY_WITHIN_S
    assert waits + 30 < unit_plans.VERIFY_TIMEOUT_S
    assert reboot_plan.DOWN_WITHIN_S > 90
