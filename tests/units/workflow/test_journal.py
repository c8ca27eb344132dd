"""Runs on disk: lists, forgetting, the replay floor, and writes that disagree."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.contract.command import ReasonCode, State
from agent.errors import BadRequest
from agent.store.database import Worth
from agent.workflow.run_rows import RunConflict
from agent.workflow.transition import StepStarted, StepSucceeded
from tests.kit.command_room import Room, open_room
from tests.kit.manual_clock import ManualClock
from tests.kit.orders import order_payload, signed_order


async def _ping(room: Room, command_id: str, **fields: object) -> bytes:
    envelope = signed_order(order_payload("ping", command_id=command_id, issued_at=room.clock.now(), **fields))  # type: ignore[arg-type]
    await room.receive(envelope)
    return envelope


async def test_lists_give_the_newest_first_in_pages(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        for number in range(5):
            await _ping(room, f"c-{number}")
        first = await room.journal.list(2, None)
        second = await room.journal.list(2, first.next_cursor)
        third = await room.journal.list(2, second.next_cursor)
        pages = [[state.command_id for state in page.items] for page in (first, second, third)]
        assert pages == [["c-4", "c-3"], ["c-2", "c-1"], ["c-0"]]
        assert third.next_cursor is None
        for cursor in ("x", "-1", "１", "9" * 30, ""):
            with pytest.raises(BadRequest):
                await room.journal.list(2, cursor)
        assert await room.journal.get("nobody") is None


async def test_open_operations_are_publications_of_the_agents_own_truth(tmp_path: Path) -> None:
    async with open_room(tmp_path, engine=False) as room:
        await _ping(room, "c-1")
        (publication,) = await room.journal.open_publications()
        assert (publication.below, publication.retain) == ("agent/op/ping/c-1", True)
        assert json.loads(publication.payload)["state"] == "accepted"


async def test_a_retained_state_is_taken_back_a_day_after_the_end(tmp_path: Path) -> None:
    clock = ManualClock(datetime.now(UTC))
    async with open_room(tmp_path, clock=clock) as room:
        await _ping(room, "c-1", lifetime=timedelta(days=20))
        await room.ended("c-1")
        assert await room.journal.retire() == 0
        clock.advance(24 * 3600 + 1)
        assert await room.journal.retire() == 1
        assert await room.outbox() == [("agent/op/ping/c-1", b"")]
        assert await room.journal.retire() == 0
        assert (await room.state("c-1")).state is State.SUCCEEDED


async def test_what_is_forgotten_raises_the_floor_and_can_never_come_again(tmp_path: Path) -> None:
    clock = ManualClock(datetime.now(UTC))
    async with open_room(tmp_path, clock=clock) as room:
        began = clock.now()
        envelope = await _ping(room, "c-1")
        await room.ended("c-1")
        clock.advance(24 * 3600 + 1)
        assert await room.journal.retire() == 1
        clock.advance(8 * 24 * 3600)
        assert await room.journal.retire() == 1
        assert await room.rows() == 0
        clock.set_wall(began)  # the clock falls back: by it, the order is fresh again
        await room.receive(envelope)
        state = await room.state("c-1")
        assert state.reason is not None
        assert (state.state, state.reason.code) == (State.REJECTED, ReasonCode.REPLAYED)
        await _ping(room, "c-2", lifetime=timedelta(hours=2))
        assert (await room.ended("c-2")).state is State.SUCCEEDED


async def test_an_open_run_is_never_forgotten(tmp_path: Path) -> None:
    clock = ManualClock(datetime.now(UTC))
    async with open_room(tmp_path, clock=clock, engine=False) as room:
        await _ping(room, "c-1")
        clock.advance(90 * 24 * 3600)
        assert await room.journal.retire() == 0
        assert await room.rows() == 1


async def test_two_writers_of_one_run_are_a_conflict_and_a_repeated_write_is_not(tmp_path: Path) -> None:
    async with open_room(tmp_path, engine=False) as room:
        await _ping(room, "c-1")
        (run,) = await room.journal.open_runs()
        plan = room.planner.plan_for(run)
        changed = await room.journal.record(run, StepStarted(), plan)
        again = await room.journal.record(run, StepStarted(), plan)
        assert replace(again, updated_at=changed.updated_at) == changed
        await room.database.write(lambda db: db.execute("UPDATE commands SET rev = 9").rowcount, worth=Worth.RUN)
        with pytest.raises(RunConflict):
            await room.journal.record(changed, StepSucceeded(), plan)


async def test_the_row_keeps_who_signed_and_who_ordered(tmp_path: Path) -> None:
    async with open_room(tmp_path, engine=False) as room:
        await _ping(room, "c-1")
        row = await room.database.read(
            lambda db: db.execute("SELECT source, uid, signers, request FROM commands").fetchone()
        )
        assert tuple(row[:3]) == ("mqtt", None, "support-person")
        assert json.loads(row[3])["command_id"] == "c-1"
