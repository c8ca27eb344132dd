"""Giving a run up: while it waits, at a step that may be left, and in every race with its beginning and its end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from msgspec import Struct

from agent.contract.command import CommandState, ReasonCode, State
from agent.workflow.plan import Futile, IfInterrupted, StepContext
from tests.kit.command_room import Room, open_room
from tests.kit.orders import OPERATOR, order_payload, signed_order
from tests.units.workflow.workshop import DyingDatabase, Tally, Work, command, dying


class Hall:
    """An act that says when it is under way, and goes on until somebody opens or cancels it."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.thrown_out = 0

    async def act(self, _context: StepContext) -> Struct | None:
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.thrown_out += 1
            raise
        return None


async def _send(room: Room, name: str, command_id: str, **fields: object) -> None:
    await room.receive(signed_order(order_payload(name, command_id=command_id, **fields)), name)  # type: ignore[arg-type]


async def _cancel(room: Room, wanted: str, command_id: str = "c-cancel") -> CommandState:
    payload = order_payload("cancel", {"command_id": wanted}, command_id=command_id)
    await room.receive(signed_order(payload, [OPERATOR]), "cancel")
    return await room.ended(command_id)


async def test_an_order_that_waits_is_cancelled_and_both_say_so(tmp_path: Path) -> None:
    hall, work = Hall(), Work()
    async with open_room(tmp_path, more=command("work", work.step("act", perform=hall.act))) as room:
        await _send(room, "work", "c-1")
        await _send(room, "work", "c-2")
        await room.reached("c-2", State.WAITING)
        cancel = await _cancel(room, "c-2")
        target = await room.ended("c-2")
        assert (cancel.state, bytes(cancel.result)) == (State.SUCCEEDED, b'{"command_id":"c-2","name":"work"}')
        assert target.reason is not None
        assert (target.state, target.reason.code) == (State.CANCELLED, ReasonCode.CANCELLED)
        assert "c-cancel" in target.reason.text
        assert await room.told("c-2") == target
        hall.open.set()
        assert (await room.ended("c-1")).state is State.SUCCEEDED
    assert work.done == ["act"]


async def test_an_order_outside_its_window_is_cancelled(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        now = room.clock.now()
        begin = f"{(now.hour + 3) % 24:02d}:00"
        await _send(room, "ping", "c-1", window={"from": begin, "to": f"{(now.hour + 4) % 24:02d}:00"})
        await room.reached("c-1", State.WAITING)
        assert (await _cancel(room, "c-1")).state is State.SUCCEEDED
        assert (await room.ended("c-1")).state is State.CANCELLED


async def test_at_a_step_that_may_be_left_the_act_is_ended_and_nothing_follows(tmp_path: Path) -> None:
    hall, work = Hall(), Work()
    more = command("work", work.step("act", perform=hall.act, may_cancel=True), work.step("after"))
    async with open_room(tmp_path, more=more) as room:
        await _send(room, "work", "c-1")
        await hall.entered.wait()
        assert (await _cancel(room, "c-1")).state is State.SUCCEEDED
        assert (await room.ended("c-1")).state is State.CANCELLED
        assert room.engine.exclusive is None
    assert (work.done, hall.thrown_out) == (["act"], 1)


async def test_at_any_other_step_the_order_to_cancel_fails_at_once_and_the_run_goes_on(tmp_path: Path) -> None:
    hall, work = Hall(), Work()
    async with open_room(tmp_path, more=command("work", work.step("act", perform=hall.act))) as room:
        await _send(room, "work", "c-1")
        await hall.entered.wait()
        cancel = await _cancel(room, "c-1")
        assert cancel.reason is not None
        assert (cancel.state, cancel.reason.code) == (State.FAILED, ReasonCode.OPERATION_RUNNING)
        hall.open.set()
        assert (await room.ended("c-1")).state is State.SUCCEEDED
    assert hall.thrown_out == 0


async def test_between_two_attempts_a_run_is_cancelled_without_waiting_for_the_next(tmp_path: Path) -> None:
    failed = asyncio.Event()

    async def fails(_context: StepContext) -> Struct | None:
        failed.set()
        raise OSError

    work = Work()
    step = work.step("act", perform=fails, may_cancel=True, retry_after_s=3600.0)
    async with open_room(tmp_path, more=command("work", step)) as room:
        await _send(room, "work", "c-1")
        await failed.wait()
        assert (await _cancel(room, "c-1")).state is State.SUCCEEDED
        assert (await room.ended("c-1")).state is State.CANCELLED
    assert work.done == ["act"]


async def test_an_act_that_ends_well_in_spite_of_it_counts_and_the_next_step_is_not_begun(tmp_path: Path) -> None:
    hall, work = Hall(), Work()

    async def stubborn(context: StepContext) -> Struct | None:
        try:
            await hall.act(context)
        except asyncio.CancelledError:
            return Tally(7)
        return None

    more = command("work", work.step("act", perform=stubborn, may_cancel=True), work.step("after", may_cancel=True))
    async with open_room(tmp_path, more=more) as room:
        await _send(room, "work", "c-1")
        await hall.entered.wait()
        assert (await _cancel(room, "c-1")).state is State.SUCCEEDED
        ended = await room.ended("c-1")
    assert (ended.state, bytes(ended.result), work.done) == (State.CANCELLED, b'{"count":7}', ["act"])


async def test_a_run_that_ends_while_somebody_wants_it_cancelled_keeps_its_end(tmp_path: Path) -> None:
    hall, work = Hall(), Work()

    async def stubborn(context: StepContext) -> Struct | None:
        try:
            await hall.act(context)
        except asyncio.CancelledError:
            return None
        return None

    more = command("work", work.step("act", perform=stubborn, may_cancel=True))
    async with open_room(tmp_path, more=more) as room:
        await _send(room, "work", "c-1")
        await hall.entered.wait()
        cancel = await _cancel(room, "c-1")
        assert cancel.reason is not None
        assert (cancel.state, cancel.reason.code) == (State.FAILED, ReasonCode.INVALID_REQUEST)
        assert "succeeded" in cancel.reason.text
        assert (await room.ended("c-1")).state is State.SUCCEEDED


@pytest.mark.parametrize("target", ["unknown", "succeeded", "itself"])
async def test_what_cannot_be_cancelled_is_told_so(target: str, tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        await _send(room, "ping", "c-1")
        await room.ended("c-1")
        wanted = {"unknown": "c-9", "succeeded": "c-1", "itself": "c-cancel"}[target]
        cancel = await _cancel(room, wanted)
        assert cancel.reason is not None
        expected = {
            "unknown": ReasonCode.INVALID_ARGUMENTS,
            "succeeded": ReasonCode.INVALID_REQUEST,
            "itself": ReasonCode.OPERATION_RUNNING,
        }[target]
        assert (cancel.state, cancel.reason.code) == (State.FAILED, expected)
        assert wanted not in cancel.reason.text
        assert cancel.rev == 3, "told at once, not tried again"


async def test_cancelling_again_what_is_cancelled_already_is_a_success(tmp_path: Path) -> None:
    hall, work = Hall(), Work()
    async with open_room(tmp_path, more=command("work", work.step("act", perform=hall.act, may_cancel=True))) as room:
        await _send(room, "work", "c-1")
        await hall.entered.wait()
        assert (await _cancel(room, "c-1", "c-a")).state is State.SUCCEEDED
        first = await room.ended("c-1")
        assert (await _cancel(room, "c-1", "c-b")).state is State.SUCCEEDED
        assert await room.state("c-1") == first


async def test_a_flood_of_orders_to_cancel_ends_the_run_once(tmp_path: Path) -> None:
    hall, work = Hall(), Work()
    async with open_room(tmp_path, more=command("work", work.step("act", perform=hall.act, may_cancel=True))) as room:
        await _send(room, "work", "c-1")
        await hall.entered.wait()
        states = await asyncio.gather(*(_cancel(room, "c-1", f"c-x{number}") for number in range(40)))
        assert {state.state for state in states} == {State.SUCCEEDED}
        target = await room.ended("c-1")
        assert (target.state, target.rev, hall.thrown_out) == (State.CANCELLED, 3, 1)


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_cancelling_in_the_race_with_its_beginning_has_one_outcome(turns: int, tmp_path: Path) -> None:
    """The order to cancel goes straight to the engine, a few turns of the loop after the order came in."""
    work = Work()
    more = command("work", work.step("safe", may_cancel=True), work.step("act"), work.step("after", may_cancel=True))
    async with open_room(tmp_path, more=more) as room:
        await _send(room, "work", "c-1")
        for _ in range(turns):
            await asyncio.sleep(0)
        cancel = await _cancel(room, "c-1")
        target = await room.ended("c-1")
        await asyncio.sleep(0.02)
        assert await room.state("c-1") == target, "a final state never changes"
    assert (cancel.state, target.state) in {
        (State.SUCCEEDED, State.CANCELLED),
        (State.FAILED, State.SUCCEEDED),
    }
    assert len(work.done) == len(set(work.done)), "no act is repeated"
    if target.state is State.SUCCEEDED:
        assert work.done == ["safe", "act", "after"]


async def test_what_waits_for_a_cancelled_run_begins(tmp_path: Path) -> None:
    hall, work = Hall(), Work()
    more = {
        **command("hold", work.step("hold", perform=hall.act, may_cancel=True)),
        **command("work", work.step("act")),
    }
    async with open_room(tmp_path, more=more) as room:
        await _send(room, "hold", "c-1")
        await hall.entered.wait()
        await _send(room, "work", "c-2")
        await room.reached("c-2", State.WAITING)
        await _cancel(room, "c-1")
        assert (await room.ended("c-2")).state is State.SUCCEEDED


async def test_a_refusal_that_would_only_repeat_itself_ends_the_run_at_once(tmp_path: Path) -> None:
    async def futile(_context: StepContext) -> Struct | None:
        raise Futile("never", reason=ReasonCode.NOT_VERIFIED)

    work = Work()
    async with open_room(tmp_path, more=command("work", work.step("act", perform=futile))) as room:
        await _send(room, "work", "c-1")
        ended = await room.ended("c-1")
    assert ended.reason is not None
    assert (ended.state, ended.reason.code, work.done) == (State.FAILED, ReasonCode.NOT_VERIFIED, ["act"])


async def test_a_step_is_told_what_the_steps_before_it_found(tmp_path: Path) -> None:
    seen: list[bytes | None] = []

    async def look(context: StepContext) -> Struct | None:
        seen.append(context.result)
        return Tally(len(seen))

    work = Work()
    more = command("work", work.step("a", perform=look), work.step("b", perform=look))
    async with open_room(tmp_path, more=more) as room:
        await _send(room, "work", "c-1")
        await room.ended("c-1")
    assert seen == [None, b'{"count":1}']


async def test_others_see_what_has_the_terminal_from_its_beginning_to_its_end_and_across_a_restart(
    tmp_path: Path,
) -> None:
    hall, work = Hall(), Work()
    step = work.step("act", IfInterrupted.REPEAT, hall.act, timeout_s=500.0)
    more = {**command("work", step), **command("look", work.step("look", perform=hall.act), exclusive=False)}
    async with open_room(tmp_path, more=more) as room:
        assert room.engine.exclusive is None
        await _send(room, "look", "c-0")
        await hall.entered.wait()
        assert room.engine.exclusive is None, "what runs beside others holds nobody up"
        hall.entered.clear()
        await _send(room, "work", "c-1")
        await hall.entered.wait()
        now = room.engine.exclusive
        assert now is not None
        assert (now.command_id, now.name, now.retry_after_s) == ("c-1", "work", 60.0)
    async with open_room(tmp_path, more=more, engine=False) as room:
        assert room.engine.exclusive is None
        await room.engine.restore()
        again = room.engine.exclusive
        assert again is not None
        assert again.command_id == "c-1", "before the engine runs, and before any door is open"
        hall.open.set()
        loop = asyncio.ensure_future(room.engine.run())
        assert (await room.ended("c-1")).state is State.SUCCEEDED
        assert room.engine.exclusive is None
        loop.cancel()
        await asyncio.wait([loop])


async def test_after_a_restart_an_accepted_order_to_cancel_comes_before_the_order_it_is_for(tmp_path: Path) -> None:
    work = Work()
    more = command("work", work.step("act"))
    async with open_room(tmp_path, more=more, engine=False) as room:
        await _send(room, "work", "c-1")
        payload = order_payload("cancel", {"command_id": "c-1"}, command_id="c-2")
        await room.receive(signed_order(payload, [OPERATOR]), "cancel")
    async with open_room(tmp_path, more=more) as room:
        assert (await room.ended("c-2")).state is State.SUCCEEDED
        assert (await room.ended("c-1")).state is State.CANCELLED
    assert work.done == []


async def test_every_change_is_told_once_with_whether_it_has_the_terminal_for_itself(tmp_path: Path) -> None:
    told: list[tuple[str, State, int, bool]] = []
    async with open_room(tmp_path, more=command("work", Work().step("act"))) as room:
        room.journal.on_state(lambda s, exclusive: told.append((s.command_id, s.state, s.rev, exclusive)))
        await _send(room, "work", "c-1")
        await room.ended("c-1")
        await _send(room, "work", "c-1")
        await _send(room, "ping", "c-2", lifetime=timedelta(days=31))
        await room.ended("c-2")
    of_work = [(state, rev, exclusive) for command_id, state, rev, exclusive in told if command_id == "c-1"]
    assert of_work == [(State.ACCEPTED, 1, True), (State.RUNNING, 2, True), (State.SUCCEEDED, 3, True)]
    assert [one[1:] for one in told if one[0] == "c-2"] == [(State.REJECTED, 1, False)]


async def _life(folder: Path, work: Work, die_at: int | None, *, durable: bool) -> int:
    """Cancel an order in the middle of its first step; live until the store dies or both have ended. Writes made."""
    hall = Hall()
    more = command("work", work.step("safe", perform=hall.act, may_cancel=True), work.step("after"))
    async with open_room(folder, more=more, database=dying(die_at, durable=durable)) as room:
        database = cast(DyingDatabase, room.database)

        async def whole() -> None:
            await _send(room, "work", "c-1")
            await hall.entered.wait()
            await _cancel(room, "c-1")
            await room.ended("c-1")

        tasks = [asyncio.ensure_future(whole()), asyncio.ensure_future(database.dead.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        return database.writes


@pytest.mark.parametrize("durable", [False, True], ids=["before the write", "after the commit"])
async def test_cancelling_a_run_in_its_middle_has_one_outcome_wherever_the_agent_dies(
    durable: bool, tmp_path: Path
) -> None:
    (tmp_path / "whole").mkdir()
    points = await _life(tmp_path / "whole", Work(), None, durable=False)
    assert points == 6, "two orders accepted, two steps begun, one run cancelled, one ended"
    outcomes = set()
    for point in range(1, points + 1):
        folder, work = tmp_path / f"point-{point}", Work()
        folder.mkdir()
        await _life(folder, work, point, durable=durable)
        more = command("work", work.step("safe", may_cancel=True), work.step("after"))
        async with open_room(folder, more=more) as room:
            if await room.journal.get("c-1") is None:
                continue  # never acknowledged
            target = await room.ended("c-1")
            cancel = await room.journal.get("c-cancel")
            if cancel is not None:
                cancel = await room.ended("c-cancel")
                wanted = State.SUCCEEDED if target.state is State.CANCELLED else State.FAILED
                assert cancel.state is wanted, (point, target, cancel)
            assert target.state in {State.CANCELLED, State.SUCCEEDED}, point
            assert ("after" in work.done) is (target.state is State.SUCCEEDED)
            outcomes.add(target.state)
    assert State.CANCELLED in outcomes
