"""Wherever the agent dies, an order has one outcome. Where it can die is found by counting the writes of a run."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from agent.contract.command import ReasonCode, State
from agent.errors import StoreUnavailable
from agent.workflow.plan import IfInterrupted
from tests.kit.command_room import Room, open_room
from tests.kit.orders import order_payload, signed_order
from tests.units.workflow.workshop import DyingDatabase, Work, command, dying

REPEATED = [IfInterrupted.REPEAT] * 3
ONCE = [IfInterrupted.FAIL] * 2
MIXED = [IfInterrupted.REPEAT, IfInterrupted.FAIL, IfInterrupted.REPEAT]


async def _life(folder: Path, kinds: list[IfInterrupted], work: Work, die_at: int | None, *, durable: bool) -> int:
    """Send the order and live until it has ended or the store has died; the number of writes there were."""
    more = command("work", *(work.step(f"step-{n}", kind) for n, kind in enumerate(kinds)))
    async with open_room(folder, more=more, database=dying(die_at, durable=durable)) as room:
        database = cast(DyingDatabase, room.database)
        order = order_payload("work", command_id="cmd-0001", issued_at=None)
        sending = asyncio.ensure_future(room.receive(signed_order(order), "work"))
        death = asyncio.ensure_future(database.dead.wait())
        end = asyncio.ensure_future(_ended(room))
        await asyncio.wait([death, end], return_when=asyncio.FIRST_COMPLETED, timeout=10)
        assert death.done() or end.done()
        for task in (sending, death, end):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        return database.writes


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


async def _ended(room: Room) -> None:
    while True:
        with suppress(AssertionError, StoreUnavailable):
            await room.ended("cmd-0001")
            return
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("kinds", [REPEATED, ONCE, MIXED], ids=["repeat", "fail", "mixed"])
@pytest.mark.parametrize("durable", [False, True], ids=["before the write", "after the commit"])
async def test_an_order_has_one_outcome_wherever_the_agent_dies(
    kinds: list[IfInterrupted], durable: bool, tmp_path: Path
) -> None:
    points = await _life(_folder(tmp_path, "whole"), kinds, Work(), None, durable=False)
    assert points == 1 + 2 * len(kinds)  # accepted; before and after each act
    for point in range(1, points + 1):
        folder, work = _folder(tmp_path, f"point-{point}"), Work()
        await _life(folder, kinds, work, point, durable=durable)
        more = command("work", *(work.step(f"step-{n}", kind) for n, kind in enumerate(kinds)))
        async with open_room(folder, more=more) as room:
            if await room.rows() == 0:
                assert (point, durable) == (1, False)  # never acknowledged: the broker would send it again
                continue
            ended = await room.ended("cmd-0001")
            counts = [work.done.count(f"step-{n}") for n in range(len(kinds))]
            assert await room.told("cmd-0001") == ended
        for n, kind in enumerate(kinds):
            assert counts[n] <= (1 if kind is IfInterrupted.FAIL else 2), (point, counts)
        if ended.state is State.FAILED:
            assert ended.reason is not None
            assert ended.reason.code is ReasonCode.INTERRUPTED
            assert kinds[(ended.step or 0) - 1] is IfInterrupted.FAIL
        else:
            assert ended.state is State.SUCCEEDED
            assert min(counts) >= 1
        async with open_room(folder, more=more) as room:  # and a further start changes nothing
            assert await room.state("cmd-0001") == ended
            assert await room.journal.open_states() == []


async def test_a_loop_of_deaths_in_the_same_act_ends_with_too_many_tries(tmp_path: Path) -> None:
    work = Work()

    async def for_ever(_context: object) -> None:
        await asyncio.Event().wait()

    more = command("work", work.step("act", perform=for_ever, timeout_s=60.0))
    order = order_payload("work", command_id="cmd-0001")
    for life in range(3):
        async with open_room(tmp_path, more=more) as room:
            if life == 0:
                await room.receive(signed_order(order), "work")
            async with asyncio.timeout(10):
                while len(work.done) == life:
                    await asyncio.sleep(0.002)
    async with open_room(tmp_path, more=more) as room:
        ended = await room.ended("cmd-0001")
    assert len(work.done) == 3
    assert ended.reason is not None
    assert (ended.state, ended.reason.code) == (State.FAILED, ReasonCode.TOO_MANY_TRIES)


async def test_a_begun_run_of_a_command_that_this_release_lacks_fails(tmp_path: Path) -> None:
    work, order = Work(), order_payload("work", command_id="cmd-0001")

    async def for_ever(_context: object) -> None:
        await asyncio.Event().wait()

    async with open_room(tmp_path, more=command("work", work.step("act", perform=for_ever))) as room:
        await room.receive(signed_order(order), "work")
        await room.reached("cmd-0001", State.RUNNING)
    async with open_room(tmp_path) as room:
        ended = await room.ended("cmd-0001")
    assert ended.reason is not None
    assert (ended.state, ended.reason.code) == (State.FAILED, ReasonCode.INTERRUPTED)


async def test_an_order_that_never_began_and_is_unknown_now_is_rejected(tmp_path: Path) -> None:
    order = order_payload("work", command_id="cmd-0001")
    async with open_room(tmp_path, more=command("work", Work().step("act")), engine=False) as room:
        await room.receive(signed_order(order), "work")
    async with open_room(tmp_path) as room:
        ended = await room.ended("cmd-0001")
    assert ended.reason is not None
    assert (ended.state, ended.reason.code) == (State.REJECTED, ReasonCode.UNKNOWN_COMMAND)


async def test_a_kept_back_answer_is_told_after_a_restart(tmp_path: Path) -> None:
    order = order_payload("frobnicate", terminal="_all", command_id="cmd-0001")
    async with open_room(tmp_path, spread_s=60.0) as room:
        await room.receive(signed_order(order), "frobnicate", site=True)
        assert await room.told("cmd-0001") is None
    async with open_room(tmp_path) as room:
        async with asyncio.timeout(10):
            while await room.told("cmd-0001") is None:
                await asyncio.sleep(0.002)
