"""The engine: journal, act, journal, step by step, until every accepted order has its one final state.

Knows no command: plans and the gate (may this begin now?) come from outside. One exclusive run at a time; others run
beside it, a few at once. When the store cannot write, it waits and writes later what happened: an act is never repeated
for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
import structlog

from agent.contract.command import Reason, ReasonCode
from agent.errors import AgentError, Refused, StoreFull, StoreUnavailable
from agent.runtime.clock import Clock
from agent.runtime.services import Pulse
from agent.workflow.journal import RunConflict, RunJournal
from agent.workflow.plan import Plan, StepContext
from agent.workflow.recovery import recover
from agent.workflow.transition import Closed, Event, Held, Phase, Run, StepFailed, StepStarted, StepSucceeded
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


@dataclass(frozen=True, slots=True)
class Hold:
    """Not now. ``look_again_s``: when to ask again, besides whenever the engine is woken."""

    reason: Reason
    look_again_s: float


Gate = Callable[[Run, float], Hold | Closed | None]


class Engine:
    """A service. ``gate(run, waited_s)`` says whether a run may begin: None is yes; ``waited_s`` is monotonic."""

    name = "engine"

    def __init__(
        self, journal: RunJournal, plan_for: Callable[[Run], Plan | None], gate: Gate, clock: Clock, pulse: Pulse
    ) -> None:
        self._journal = journal
        self._plan_for = plan_for
        self._gate = gate
        self._clock = clock
        self._pulse = pulse
        self._waiting: dict[str, _Waiting] = {}
        self._begun: dict[str, Plan] = {}
        self._changed = asyncio.Event()
        self._started = False

    def take(self, run: Run, delay_s: float = 0.0) -> None:
        """A run was just opened in the journal: begin it when it may, not before ``delay_s`` from now.

        One that is final already (refused, but not told yet) is told then.
        """
        now_s = self._clock.monotonic()
        if run.command_id not in self._waiting and run.command_id not in self._begun:
            self._waiting[run.command_id] = _Waiting(run, now_s, now_s + delay_s)
        self._changed.set()

    def wake(self) -> None:
        """Something that held runs back may be over: look again."""
        self._changed.set()

    async def run(self) -> None:
        """Recover, then work until cancelled."""
        own_too, self._started = self._started, True
        if own_too:
            self._waiting.clear()  # the journal knows better
        async with asyncio.TaskGroup() as group:
            for run in await self._until_stored(lambda: recover(self._journal, self._plan_for, own_too=own_too)):
                self.take(run)
            while True:
                self._changed.clear()
                self._pulse.working(_PULSE_S)
                look_again_s = await self._look(group)
                self._pulse.resting()
                await wait_for(self._changed, self._clock, look_again_s)

    async def _look(self, group: asyncio.TaskGroup) -> float | None:
        """Begin what may begin; returns after how many seconds to look again, None when only an event can matter."""
        soonest: float | None = None
        for waiting in list(self._waiting.values()):
            try:
                hold_s = await self._consider(waiting, group)
            except RunConflict as err:  # the journal is right, this copy is stale
                log.error("run.conflict", command_id=waiting.run.command_id, error=str(err))
                del self._waiting[waiting.run.command_id]
                continue
            if hold_s is not None:
                soonest = hold_s if soonest is None else min(soonest, hold_s)
        return soonest

    async def _consider(self, waiting: _Waiting, group: asyncio.TaskGroup) -> float | None:
        now_s = self._clock.monotonic()
        if now_s < waiting.not_before_s:
            return waiting.not_before_s - now_s
        run, plan = waiting.run, self._plan_for(waiting.run)
        answer = self._may_begin(run, plan, now_s - waiting.since_s)
        if isinstance(answer, float):
            return answer
        if isinstance(answer, Hold):
            waiting.run = await self._record(run, Held(answer.reason), plan)
            return answer.look_again_s
        if run.phase.is_final:
            await self._until_stored(lambda: self._journal.tell(run.command_id))
        elif isinstance(answer, Closed):
            await self._record(run, answer, plan)
        del self._waiting[run.command_id]
        if answer is None and plan is not None and not run.phase.is_final:
            self._begun[run.command_id] = plan
            group.create_task(self._drive(run, plan), name=f"run {run.name}")
        return None

    def _may_begin(self, run: Run, plan: Plan | None, waited_s: float) -> Hold | Closed | float | None:
        """None: yes. A number: ask again after so many seconds, and nothing needs to be told."""
        if run.phase.is_final:
            return None
        if plan is None:
            return Closed(Phase.REJECTED, _NO_PLAN)
        if not run.phase.is_begun and (answer := self._gate(run, waited_s)) is not None:
            return answer
        beside = sum(not other.exclusive for other in self._begun.values())
        if plan.exclusive and beside < len(self._begun):
            return _LOOK_AGAIN_S if run.phase.is_begun else Hold(_OPERATION_RUNNING, _LOOK_AGAIN_S)
        return _LOOK_AGAIN_S if not plan.exclusive and beside >= MAX_BESIDE else None

    async def _drive(self, run: Run, plan: Plan) -> None:
        try:
            while not run.phase.is_final:
                if run.attempt:
                    await self._clock.sleep(plan.steps[run.step].retry_after_s)
                run = await self._record(run, StepStarted(), plan)  # on disk before anything happens
                run = await self._record(run, await self._perform(run, plan), plan)  # on disk before the next step
        except RunConflict as err:
            log.error("run.conflict", command_id=run.command_id, error=str(err))
        finally:
            del self._begun[run.command_id]
            self._changed.set()

    async def _perform(self, run: Run, plan: Plan) -> Event:
        step = plan.steps[run.step]
        deadline = asyncio.timeout(step.timeout_s)
        try:
            async with deadline:
                outcome = await step.perform(StepContext(run.command_id, run.attempt))
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise  # the agent is stopping: the next start goes on by ``if_interrupted``
            return StepFailed(Reason(ReasonCode.STEP_FAILED, f"step {step.name} was cancelled from inside"))
        except Refused as err:
            return StepFailed(Reason(_reason_code(err.reason), err.message))
        except Exception as err:  # whatever a step does, its run ends with a reason and the engine goes on
            if isinstance(err, TimeoutError) and deadline.expired():
                return StepFailed(Reason(ReasonCode.STEP_TIMEOUT, f"step {step.name} took over {step.timeout_s:g} s"))
            log.error("step.failed", command_id=run.command_id, step=step.name, error=type(err).__name__, exc_info=err)
            what = err.message if isinstance(err, AgentError) else type(err).__name__
            return StepFailed(Reason(ReasonCode.STEP_FAILED, f"step {step.name}: {what}"[:256]))
        if outcome is None:
            return StepSucceeded()
        result = msgspec.json.encode(outcome)
        if len(result) > MAX_RESULT_BYTES:
            return StepFailed(Reason(ReasonCode.STEP_FAILED, f"the result of step {step.name} is too large to be told"))
        return StepSucceeded(result)

    async def _record(self, run: Run, event: Event, plan: Plan | None) -> Run:
        changed = await self._until_stored(lambda: self._journal.record(run, event, plan))
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


class _Waiting:
    """A run that has not begun in this process; times are monotonic seconds."""

    __slots__ = ("not_before_s", "run", "since_s")

    def __init__(self, run: Run, since_s: float, not_before_s: float) -> None:
        self.run = run
        self.since_s = since_s
        self.not_before_s = not_before_s


def _reason_code(reason: str) -> ReasonCode:
    try:
        return ReasonCode(reason)
    except ValueError:
        return ReasonCode.STEP_FAILED
