"""The engine on a real store: what may run together, what waits, what failing means."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import Struct

from agent.contract.command import CommandState, ReasonCode, State
from agent.errors import Refused, StoreFull, StoreUnavailable
from agent.store.database import Connection, Database, Worth
from agent.workflow.engine import MAX_BESIDE
from agent.workflow.plan import IfInterrupted, StepContext
from tests.kit.command_room import Room, open_room, until
from tests.kit.manual_clock import ManualClock
from tests.kit.orders import order_payload, signed_order
from tests.units.workflow.workshop import Tally, Work, command


class Door:
    """An act that lasts until somebody opens."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self.open = asyncio.Event()

    async def act(self, _context: StepContext) -> Struct | None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.open.wait()
        finally:
            self.inside -= 1
        return None


async def _send(room: Room, name: str, command_id: str, **fields: object) -> None:
    await room.receive(signed_order(order_payload(name, command_id=command_id, **fields)), name)  # type: ignore[arg-type]


async def _ended_in_time(room: Room, clock: ManualClock, command_id: str) -> CommandState:
    """The final state, with time going on: the engine may have begun its wait only after the clock was moved."""

    async def ended() -> bool:
        clock.advance(60)
        return (await room.state(command_id)).state.is_final

    await until(ended)
    return await room.state(command_id)


async def test_steps_run_in_order_and_the_last_result_is_told(tmp_path: Path) -> None:
    work = Work()
    async with open_room(tmp_path, more=command("work", work.step("a"), work.step("b"))) as room:
        await _send(room, "work", "c-1")
        ended = await room.ended("c-1")
    assert work.done == ["a", "b"]
    assert (ended.state, ended.step, ended.steps, bytes(ended.result)) == (State.SUCCEEDED, 2, 2, b'{"count":2}')
    assert ended.rev == 5


async def test_one_exclusive_operation_at_a_time_and_others_beside_it(tmp_path: Path) -> None:
    door, work = Door(), Work()
    more = command("work", work.step("act", perform=door.act))
    async with open_room(tmp_path, more=more) as room:
        await _send(room, "work", "c-1")
        await room.reached("c-1", State.RUNNING)
        await _send(room, "work", "c-2")
        waiting = await room.reached("c-2", State.WAITING)
        assert waiting.reason is not None
        assert waiting.reason.code is ReasonCode.OPERATION_RUNNING
        await _send(room, "ping", "c-3")
        assert (await room.ended("c-3")).state is State.SUCCEEDED
        assert [state.command_id for state in await room.journal.open_states()] == ["c-1", "c-2"]
        door.open.set()
        assert (await room.ended("c-1")).state is State.SUCCEEDED
        assert (await room.ended("c-2")).state is State.SUCCEEDED
    assert door.most == 1


async def test_only_a_few_run_beside_and_the_rest_follow(tmp_path: Path) -> None:
    door, work = Door(), Work()
    more = command("look", work.step("act", perform=door.act), exclusive=False)
    async with open_room(tmp_path, more=more) as room:
        for number in range(MAX_BESIDE + 3):
            await _send(room, "look", f"c-{number}")

        async def full() -> bool:
            return door.inside == MAX_BESIDE

        await until(full)
        door.open.set()
        for number in range(MAX_BESIDE + 3):
            assert (await room.ended(f"c-{number}")).state is State.SUCCEEDED
    assert door.most == MAX_BESIDE


async def _fails(_context: StepContext) -> Struct | None:
    raise OSError("/dev/ttyS0 said 4111111111111111")


async def _unverified(_context: StepContext) -> Struct | None:
    raise Refused("the device did not come back", reason=ReasonCode.NOT_VERIFIED)


async def _hangs(_context: StepContext) -> Struct | None:
    await asyncio.Event().wait()
    return None


async def _times_out_inside(_context: StepContext) -> Struct | None:
    raise TimeoutError


async def _cancelled_inside(_context: StepContext) -> Struct | None:
    raise asyncio.CancelledError


class Big(Struct, frozen=True):
    text: str


async def _talks_too_much(_context: StepContext) -> Struct | None:
    return Big("x" * 10_000)


@pytest.mark.parametrize(
    ("perform", "code"),
    [
        (_fails, ReasonCode.STEP_FAILED),
        (_unverified, ReasonCode.NOT_VERIFIED),
        (_hangs, ReasonCode.STEP_TIMEOUT),
        (_times_out_inside, ReasonCode.STEP_FAILED),
        (_cancelled_inside, ReasonCode.STEP_FAILED),
        (_talks_too_much, ReasonCode.STEP_FAILED),
    ],
)
async def test_a_step_that_fails_is_tried_again_and_then_fails_the_run(
    perform: object, code: ReasonCode, tmp_path: Path
) -> None:
    work = Work()
    step = work.step("act", perform=perform, timeout_s=0.05, max_attempts=2)  # type: ignore[arg-type]
    async with open_room(tmp_path, more=command("work", step)) as room:
        await _send(room, "work", "c-1")
        ended = await room.ended("c-1")
        await _send(room, "ping", "c-2")
        assert (await room.ended("c-2")).state is State.SUCCEEDED
    assert ended.reason is not None
    assert (ended.state, ended.reason.code, len(work.done)) == (State.FAILED, code, 2)
    assert "4111111111111111" not in ended.reason.text


async def test_a_second_try_that_works_makes_the_run_succeed(tmp_path: Path) -> None:
    work = Work()

    async def first_fails(context: StepContext) -> Struct | None:
        if context.attempt == 1:
            raise OSError
        return Tally(context.attempt)

    async with open_room(tmp_path, more=command("work", work.step("act", perform=first_fails))) as room:
        await _send(room, "work", "c-1")
        ended = await room.ended("c-1")
    assert (ended.state, ended.reason, bytes(ended.result)) == (State.SUCCEEDED, None, b'{"count":2}')


class FailingDatabase(Database):
    """A store that cannot write while ``broken``."""

    broken: StoreFull | StoreUnavailable | None = None
    tried = 0

    def submit(self, job: object, *, worth: Worth) -> asyncio.Future[object]:  # type: ignore[override]
        if self.broken is None:
            return super().submit(job, worth=worth)  # type: ignore[arg-type]
        self.tried += 1
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        future.set_exception(self.broken)
        return future


@pytest.mark.parametrize("error", [StoreFull("full"), StoreUnavailable("away")])
async def test_while_the_store_cannot_write_a_run_waits_and_its_act_is_not_repeated(
    error: StoreFull | StoreUnavailable, tmp_path: Path
) -> None:
    door, work, clock = Door(), Work(), ManualClock(datetime.now(UTC))
    step = work.step("act", IfInterrupted.FAIL, door.act, max_attempts=1)
    async with open_room(tmp_path, more=command("work", step), clock=clock, database=FailingDatabase) as room:
        database = room.database
        assert isinstance(database, FailingDatabase)
        await _send(room, "work", "c-1")
        await room.reached("c-1", State.RUNNING)
        database.broken = error
        door.open.set()
        with pytest.raises(type(error)):
            await _send(room, "ping", "c-2")

        async def tried_often() -> bool:
            clock.advance(1.5)
            return database.tried >= 4

        await until(tried_often)
        assert (await room.state("c-1")).state is State.RUNNING
        database.broken = None

        async def ended() -> bool:
            clock.advance(1.5)
            return (await room.state("c-1")).state is State.SUCCEEDED

        await until(ended)
    assert work.done == ["act"]


async def test_an_order_outside_its_window_waits_for_it(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    clock = ManualClock(now)
    begin, end = now + timedelta(minutes=10), now + timedelta(minutes=20)
    async with open_room(tmp_path, clock=clock) as room:
        await _send(room, "ping", "c-1", window={"from": f"{begin:%H:%M}", "to": f"{end:%H:%M}"})
        waiting = await room.reached("c-1", State.WAITING)
        assert waiting.reason is not None
        assert waiting.reason.code is ReasonCode.OUTSIDE_WINDOW

        async def ended() -> bool:
            clock.advance(30)
            return (await room.state("c-1")).state.is_final

        await until(ended)
        told = await room.state("c-1")
        assert told.state is State.SUCCEEDED
        assert told.updated_at[11:16] >= f"{begin:%H:%M}" or begin.date() != now.date()


async def test_an_order_that_cannot_begin_in_time_expires(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    clock = ManualClock(now)
    begin, end = now + timedelta(hours=3), now + timedelta(hours=4)
    async with open_room(tmp_path, clock=clock) as room:
        await _send(room, "ping", "c-1", window={"from": f"{begin:%H:%M}", "to": f"{end:%H:%M}"})
        await room.reached("c-1", State.WAITING)
        clock.advance(3601)
        ended = await _ended_in_time(room, clock, "c-1")
    assert ended.reason is not None
    assert (ended.state, ended.reason.code) == (State.EXPIRED, ReasonCode.EXPIRED)


async def test_with_an_untrusted_clock_a_ping_runs_and_others_wait_until_it_is_trusted(tmp_path: Path) -> None:
    work, clock = Work(), ManualClock(datetime.now(UTC))
    more = command("work", work.step("act"), needs_trusted_clock=True)
    async with open_room(tmp_path, more=more, clock=clock) as room:
        room.trusted = False
        await _send(room, "work", "c-1")
        await _send(room, "ping", "c-2", issued_at=clock.now() + timedelta(minutes=30))  # the clock is behind
        assert (await room.ended("c-2")).state is State.SUCCEEDED
        waiting = await room.reached("c-1", State.WAITING)
        assert waiting.reason is not None
        assert (waiting.reason.code, work.done) == (ReasonCode.CLOCK_UNTRUSTED, [])
        room.trusted = True
        room.engine.wake()
        assert (await room.ended("c-1")).state is State.SUCCEEDED


async def test_waiting_for_a_trusted_clock_ends_after_a_day_of_monotonic_time(tmp_path: Path) -> None:
    clock = ManualClock(datetime.now(UTC))
    more = command("work", Work().step("act"), needs_trusted_clock=True)
    async with open_room(tmp_path, more=more, clock=clock) as room:
        room.trusted = False
        await _send(room, "work", "c-1", lifetime=timedelta(days=20))
        await room.reached("c-1", State.WAITING)
        clock.advance(24 * 3600)
        ended = await _ended_in_time(room, clock, "c-1")
    assert ended.reason is not None
    assert (ended.state, ended.reason.code) == (State.EXPIRED, ReasonCode.CLOCK_UNTRUSTED)


async def test_rev_only_grows_and_every_change_is_told(tmp_path: Path) -> None:
    told: list[bytes] = []
    async with open_room(tmp_path, more=command("work", Work().step("a"), Work().step("b")), engine=False) as room:

        def watch(db: Connection) -> None:
            db.create_function("told", 1, told.append)
            db.execute("CREATE TEMP TRIGGER seen AFTER INSERT ON main.outbox BEGIN SELECT told(new.payload); END")

        await room.database.write(watch, worth=Worth.RUN)
        engine = asyncio.ensure_future(room.engine.run())
        await _send(room, "work", "c-1")
        ended = await room.ended("c-1")
        engine.cancel()
        await asyncio.wait([engine])
    assert len(told) == ended.rev == 5
