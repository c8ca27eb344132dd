"""The interlocks on the whole way of an order: what waits, what is refused, what two people can force."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.contract.command import ReasonCode, State
from agent.contract.selling import Selling
from tests.kit.command_room import until
from tests.kit.operation_room import BOTH, Place, ended, result_of, send, why


async def test_a_sale_holds_an_operation_until_it_is_over(tmp_path: Path) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        room.selling = Selling(lease_left_s=180.0)
        order = {"level": "device", "device": "printer-0", "force": True}
        command_id = await send(room, "reset", order, BOTH)
        waiting = await room.reached(command_id, State.WAITING)
        assert waiting.reason is not None
        assert waiting.reason.code is ReasonCode.SALE_RUNNING
        assert place.printer.recoveries == 0
        room.selling = Selling()
        room.engine.wake()
        assert (await ended(room, place, command_id)).state is State.SUCCEEDED


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
        command_id = await send(room, "reset", {"level": "device", "device": "printer-0"})
        await ended(room, place, command_id)
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
        plain = await ended(room, place, await send(room, "reset", arguments))
        forced = await send(room, "reset", {**arguments, "force": True}, BOTH)

        async def begun() -> bool:
            place.clock.advance(0.1)
            return msgspec.json.decode((await room.state(forced)).result) is not None

        await until(begun)
        noted = [note["code"] for note in result_of(await room.state(forced))["noted"]]
    assert why(plain) == (State.REJECTED, code)
    assert code in noted


async def test_an_unsettled_batch_blocks_what_clears_an_applications_queues(tmp_path: Path) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        room.unsettled = "000012"
        blocked = await ended(room, place, await send(room, "reinit", {"scope": "app"}))
        restarted = await ended(room, place, await send(room, "reset", {"level": "app"}))
    assert why(blocked) == (State.REJECTED, ReasonCode.BATCH_UNSETTLED)
    assert restarted.state is State.SUCCEEDED
    assert [note["code"] for note in result_of(restarted)["noted"]] == ["BATCH_UNSETTLED"]


async def test_an_order_held_back_by_silence_ends_at_its_expiry(tmp_path: Path) -> None:
    place = Place()
    async with place.room(tmp_path) as room:
        room.selling = Selling(silent_s=100.0)
        command_id = await send(room, "reset", {"level": "app"}, lifetime=timedelta(minutes=30))
        waiting = await room.reached(command_id, State.WAITING)
        assert waiting.reason is not None
        assert waiting.reason.code is ReasonCode.BUSY_UNKNOWN
        final = await ended(room, place, command_id, step_s=60.0)
    assert why(final) == (State.EXPIRED, ReasonCode.EXPIRED)
