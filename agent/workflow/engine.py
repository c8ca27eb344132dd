"""The engine: journal, act, journal, step by step, until every accepted order has its one final state.

Knows no command: plans and the gate (may this begin now?) come from outside. One exclusive run at a time; others run
beside it, a few at once. When the store cannot write, it waits and writes later what happened: an act is never repeated
for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec
import structlog
from msgspec import Struct

from agent.contract.command import Reason, ReasonCode
from agent.errors import AgentError, Refused, StoreFull, StoreUnavailable
from agent.runtime.clock import Clock
from agent.runtime.services import Pulse
from agent.workflow.journal import RunJournal
from agent.workflow.plan import Futile, Plan, StepContext
from agent.workflow.recovery import recover
from agent.workflow.roster import Cancellation, Holding, RunningOperation, UnderWay, Waiting
from agent.workflow.run_rows import RunConflict
from agent.workflow.transition import Cancelled, Closed, Event, Held, Phase, Run, StepFailed, StepStarted, StepSucceeded
from agent.workflow.wake_up import wait_for

log = structlog.get_logger("workflow")
T = TypeVar("T")

MAX_BESIDE: Final = 8
MAX_RESULT_BYTES: Final = 6 * 1024
STORE_RETRY_S: Final = 1.0
_PULSE_S: Final = 30.0
_LOOK_AGAIN_S: Final = 60.0  # whoever ends wakes the others, so this is only a net
_NO_PLAN: Final = Reason(ReasonCode.UNKNOWN_COMMAND, "this release of the agent does not know the command")
_OPERATION_RUNNING: Final = Reason(ReasonCode.OPERATION_RUNNING, "another exclusive operation is running")


class Hold(Struct, frozen=True):
    """Not now. ``look_again_s``: when to ask again, besides whenever the engine is woken."""

    reason: Reason
    look_again_s: float


Gate = Callable[[float], Hold | Closed | None]
"""May it begin, having waited so long (monotonic)? None is yes. Asked in the very turn of the loop in which it begins,
so that nothing can come between the answer and the beginning."""

GateFor = Callable[[Run], Awaitable[Gate]]
"""Fetches what takes time, for that run; the rest is asked through what it returns."""


class Engine:
    """A service. ``gate_for`` says whether a run may begin."""

    name = "engine"

    def __init__(
        self, journal: RunJournal, plan_for: Callable[[Run], Plan | None], gate_for: GateFor, clock: Clock, pulse: Pulse
    ) -> None:
        self._journal = journal
        self._plan_for = plan_for
        self._gate_for = gate_for
        self._clock = clock
        self._pulse = pulse
        self._waiting: dict[str, Waiting] = {}
        self._begun: dict[str, UnderWay] = {}
        self._holding = Holding()
        self._goes_first: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._started = False

    def take(self, run: Run, delay_s: float = 0.0) -> None:
        """A run was just opened in the journal: begin it when it may, not before ``delay_s`` from now.

        One that is final already (refused, but not told yet) is told then.
        """
        now_s = self._clock.monotonic()
        if run.command_id not in self._waiting and run.command_id not in self._begun:
            self._waiting[run.command_id] = Waiting(run, now_s, now_s + delay_s)
        self._changed.set()

    def wake(self) -> None:
        """Something that held runs back may be over: look again."""
        self._changed.set()

    @property
    def exclusive(self) -> RunningOperation | None:
        """The exclusive run that has begun and not ended: no sale may begin beside it."""
        return self._holding.now(self._clock.monotonic())

    async def cancel(self, command_id: str, reason: Reason) -> Cancellation:
        """Give a run up, if it waits or is at a step that may be left; returns once that is durable."""
        waiting = self._waiting.get(command_id)
        if waiting is not None and not waiting.run.phase.is_final:
            if waiting.run.phase.is_begun and not _may_cancel(waiting.run, self._plan_for(waiting.run)):
                return Cancellation.NOT_NOW
            wish = waiting.wish(reason)
            self._changed.set()
            return await wish
        begun = self._begun.get(command_id)
        if begun is None:
            return Cancellation.NOT_HERE
        if not begun.may_cancel:
            return Cancellation.NOT_NOW
        wish = begun.wish(reason)
        begun.stir()
        return await wish

    async def restore(self) -> None:
        """Know what an earlier life left in the middle, before anybody asks; see `exclusive`.

        Raises:
            StoreUnavailable: The journal cannot be read.
        """
        self._hold_for(await self._journal.left_open())

    async def run(self) -> None:
        """Recover, then work until cancelled."""
        own_too, self._started = self._started, True
        if own_too:
            self._waiting.clear()  # the journal knows better
        async with asyncio.TaskGroup() as group:
            self._take_over(await self._until_stored(lambda: recover(self._journal, self._plan_for, own_too=own_too)))
            while True:
                self._changed.clear()
                self._pulse.working(_PULSE_S)
                look_again_s = await self._look(group)
                self._pulse.resting()
                await wait_for(self._changed, self._clock, look_again_s)

    def _take_over(self, found: list[Run]) -> None:
        """Runs of an earlier life. Those that run beside others go first: one may be the order to cancel another."""
        beside = frozenset(
            run.command_id for run in found if (plan := self._plan_for(run)) is not None and not plan.exclusive
        )
        self._goes_first = beside
        begun = {run.command_id for run in found if run.phase.is_begun}
        self._hold_for(found)
        for run in sorted(found, key=lambda run: (run.command_id not in begun, run.command_id not in beside)):
            self.take(run)

    def _hold_for(self, found: Sequence[Run]) -> None:
        """The exclusive one among open runs that has begun, if any, has the terminal; nobody else has."""
        self._holding = Holding()
        for run in found:
            plan = self._plan_for(run)
            if run.phase.is_begun and plan is not None and plan.exclusive:
                self._holding.take(run, plan, self._clock.monotonic())

    async def _look(self, group: asyncio.TaskGroup) -> float | None:
        """Begin what may begin; returns after how many seconds to look again, None when only an event can matter."""
        soonest: float | None = None
        for waiting in list(self._waiting.values()):
            try:
                hold_s = await self._consider(waiting, group)
            except RunConflict as err:  # the journal is right, this copy is stale
                log.error("run.conflict", command_id=waiting.run.command_id, error=str(err))
                self._forget(waiting, Cancellation.NOT_HERE)
                continue
            if hold_s is not None:
                soonest = hold_s if soonest is None else min(soonest, hold_s)
        return soonest

    async def _consider(self, waiting: Waiting, group: asyncio.TaskGroup) -> float | None:
        run, plan = waiting.run, self._plan_for(waiting.run)
        now_s = self._clock.monotonic()
        if waiting.wished is None and now_s < waiting.not_before_s:
            return waiting.not_before_s - now_s
        if run.phase.is_final:
            await self._until_stored(lambda: self._journal.tell(run.command_id))
            self._forget(waiting, Cancellation.NOT_HERE)
            return None
        answer = await self._may_begin(waiting, plan)
        # From here to where it begins there is no await: what was true for the gate is true for the run.
        if isinstance(answer, float):
            return answer
        if isinstance(answer, Hold):
            waiting.run = await self._record(run, Held(answer.reason), plan)
            return answer.look_again_s
        if isinstance(answer, Closed | Cancelled):
            await self._record(run, answer, plan)
            over = isinstance(answer, Cancelled)
            self._forget(waiting, Cancellation.DONE if over else Cancellation.NOT_HERE)
        elif plan is not None:
            self._begin(waiting, plan, group)
        return None

    async def _may_begin(self, waiting: Waiting, plan: Plan | None) -> Hold | Closed | Cancelled | float | None:
        """None: yes. A number: ask again after so many seconds, and nothing needs to be told."""
        run = waiting.run
        gate: Gate | None = None
        if plan is not None and not run.phase.is_begun:
            gate = await self._until_stored(lambda: self._gate_for(run))
        if (why := waiting.wished) is not None and (not run.phase.is_begun or _may_cancel(run, plan)):
            return Cancelled(why)
        if plan is None:
            return Closed(Phase.REJECTED, _NO_PLAN)
        if gate is not None and (answer := gate(self._clock.monotonic() - waiting.since_s)) is not None:
            return answer
        beside = sum(not other.plan.exclusive for other in self._begun.values())
        if plan.exclusive and beside < len(self._begun):
            return _LOOK_AGAIN_S if run.phase.is_begun else Hold(_OPERATION_RUNNING, _LOOK_AGAIN_S)
        if plan.exclusive and not run.phase.is_begun and not self._goes_first.isdisjoint(self._begun):
            return _LOOK_AGAIN_S
        return _LOOK_AGAIN_S if not plan.exclusive and beside >= MAX_BESIDE else None

    def _begin(self, waiting: Waiting, plan: Plan, group: asyncio.TaskGroup) -> None:
        self._forget(waiting, Cancellation.NOT_NOW)
        begun = UnderWay(waiting.run, plan)
        self._begun[begun.run.command_id] = begun
        if plan.exclusive:
            self._holding.take(begun.run, plan, self._clock.monotonic())
        group.create_task(self._drive(begun), name=f"run {begun.run.name}")

    def _forget(self, waiting: Waiting, answer: Cancellation) -> None:
        self._waiting.pop(waiting.run.command_id, None)
        waiting.answer(answer)

    async def _drive(self, begun: UnderWay) -> None:
        command_id = begun.run.command_id
        try:
            while not begun.run.phase.is_final:
                begun.run = await self._next(begun)
        except RunConflict as err:
            log.error("run.conflict", command_id=command_id, error=str(err))
            self._holding.drop(command_id)
        finally:
            del self._begun[command_id]
            begun.answer(Cancellation.DONE if begun.run.phase is Phase.CANCELLED else Cancellation.NOT_HERE)
            self._changed.set()

    async def _next(self, begun: UnderWay) -> Run:
        """One attempt of the present step, or the end of a run that was given up."""
        run, plan = begun.run, begun.plan
        if run.attempt and begun.wished is None:
            await wait_for(begun.stirred, self._clock, plan.steps[run.step].retry_after_s)
        begun.stirred.clear()
        if (why := begun.wished) is not None:
            if begun.may_cancel:
                return await self._record(run, Cancelled(why), plan)
            begun.answer(Cancellation.NOT_NOW)
        begun.run = run = await self._record(run, StepStarted(), plan)  # on disk before anything happens
        outcome = await self._perform(begun) if begun.wished is None else None
        if not isinstance(outcome, StepSucceeded) and (why := begun.wished) is not None and begun.may_cancel:
            outcome = Cancelled(why)
        return await self._record(run, outcome or await self._perform(begun), plan)  # on disk before the next step

    async def _perform(self, begun: UnderWay) -> Event:
        run, step = begun.run, begun.plan.steps[begun.run.step]
        deadline = asyncio.timeout(step.timeout_s)
        try:
            async with deadline:
                begun.act = asyncio.ensure_future(step.perform(StepContext(run.command_id, run.attempt, run.result)))
                outcome = await begun.act
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise  # the agent is stopping: the next start goes on by ``if_interrupted``
            return StepFailed(Reason(ReasonCode.STEP_FAILED, f"step {step.name} was cancelled from inside"))
        except Refused as err:
            return StepFailed(Reason(_reason_code(err.reason), err.message[:256]), futile=isinstance(err, Futile))
        except Exception as err:  # whatever a step does, its run ends with a reason and the engine goes on
            if isinstance(err, TimeoutError) and deadline.expired():
                return StepFailed(Reason(ReasonCode.STEP_TIMEOUT, f"step {step.name} took over {step.timeout_s:g} s"))
            log.error("step.failed", command_id=run.command_id, step=step.name, error=type(err).__name__, exc_info=err)
            what = err.message if isinstance(err, AgentError) else type(err).__name__
            return StepFailed(Reason(ReasonCode.STEP_FAILED, f"step {step.name}: {what}"[:256]))
        finally:
            begun.act = None
        if outcome is None:
            return StepSucceeded()
        result = msgspec.json.encode(outcome)
        if len(result) > MAX_RESULT_BYTES:
            return StepFailed(Reason(ReasonCode.STEP_FAILED, f"the result of step {step.name} is too large to be told"))
        return StepSucceeded(result)

    async def _record(self, run: Run, event: Event, plan: Plan | None) -> Run:
        changed = await self._until_stored(lambda: self._journal.record(run, event, plan))
        self._holding.changed(changed, self._clock.monotonic())
        if changed.phase.is_final:
            log.info(
                "run.ended",
                command_id=run.command_id,
                name=run.name,
                state=changed.phase.value,
                reason=changed.reason and changed.reason.code.value,
                took_s=round((changed.updated_at - changed.accepted_at).total_seconds(), 3),
            )
        return changed

    async def _until_stored(self, write: Callable[[], Awaitable[T]]) -> T:
        """Do it again until the store takes it: waiting for room on the disk is no failure of the run."""
        told = False
        while True:
            try:
                return await write()
            except (StoreFull, StoreUnavailable) as err:
                if not told:
                    log.warning("run.waits_for_store", code=err.code)
                    told = True
                self._pulse.resting()  # a full disk is told elsewhere; restarting the agent would not help
                await self._clock.sleep(STORE_RETRY_S)


def _may_cancel(run: Run, plan: Plan | None) -> bool:
    """Whether a begun run may be given up where it is."""
    return plan is not None and run.step < len(plan.steps) and plan.steps[run.step].may_cancel


def _reason_code(reason: str) -> ReasonCode:
    try:
        return ReasonCode(reason)
    except ValueError:
        return ReasonCode.STEP_FAILED
