"""``(run, event) → run``, pure. The attempt is counted before the act, so a loop of reboots ends."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from agent.contract.command import Reason, ReasonCode, State
from agent.workflow.plan import IfInterrupted, Plan, Step


class Phase(StrEnum):
    """Where a run is; finer than the published state. The last six are final."""

    ACCEPTED = "accepted"
    WAITING = "waiting"  # something must come first; ``reason`` says what
    READY = "ready"  # begun, between two acts
    RUNNING = "running"  # in the middle of an act
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self.state.is_final

    @property
    def is_begun(self) -> bool:
        return self in (Phase.READY, Phase.RUNNING)

    @property
    def state(self) -> State:
        """The published state."""
        return State.RUNNING if self is Phase.READY else State(self.value)


OPEN_PHASES: Final = (Phase.ACCEPTED, Phase.WAITING, Phase.READY, Phase.RUNNING)


class Run(Struct, frozen=True):
    """An order on its way. ``step``: steps done; ``attempt``: begun tries of the present one; ``result``: JSON."""

    command_id: str
    name: str
    request: bytes
    phase: Phase
    rev: int
    step: int
    steps: int | None
    attempt: int
    progress: int | None
    reason: Reason | None
    result: bytes | None
    accepted_at: datetime
    updated_at: datetime


class Held(Struct, frozen=True):
    """It may not begin yet."""

    reason: Reason


class Closed(Struct, frozen=True):
    """It will never begin. ``phase``: rejected or expired."""

    phase: Phase
    reason: Reason


class StepStarted(Struct, frozen=True):
    """The next act is about to begin."""


class StepSucceeded(Struct, frozen=True):
    """``result``: JSON, or None to keep the one before."""

    result: bytes | None = None


class StepFailed(Struct, frozen=True):
    """The act raised, or ran out of time. ``futile``: another attempt would only repeat it."""

    reason: Reason
    futile: bool = False


class AgentRestarted(Struct, frozen=True):
    """This process did not begin what it found."""


class PlanLost(Struct, frozen=True):
    """The command of a begun run is not known to this release any more, or has another shape."""


class Restored(Struct, frozen=True):
    """It was found open in a backup: nobody knows what became of it after that was made."""


class Cancelled(Struct, frozen=True):
    """Somebody entitled gave it up: while it waited, or at a step that says it may be."""

    reason: Reason


Event = Held | Closed | StepStarted | StepSucceeded | StepFailed | AgentRestarted | PlanLost | Restored | Cancelled


class ImpossibleTransition(ValueError):
    """An event that cannot happen in this phase: a mistake of the program."""


def after(run: Run, event: Event, plan: Plan | None) -> Run:
    """The run after ``event``; the very same object when nothing changes.

    ``rev`` grows by one with every change; ``updated_at`` is set by whoever records it. A final run never changes.

    Args:
        plan: The run's plan; needed by every event of a step.

    Raises:
        ImpossibleTransition: The event does not belong to this phase.
    """
    if run.phase.is_final:
        return run
    match event:
        case Held(reason) if not run.phase.is_begun:
            if run.phase is Phase.WAITING and run.reason is not None and run.reason.code is reason.code:
                return run
            return _changed(run, phase=Phase.WAITING, reason=reason)
        case Closed(phase, reason) if not run.phase.is_begun:
            return _changed(run, phase=phase, reason=reason)
        case StepStarted() if run.phase is not Phase.RUNNING:
            _present_step(run, plan)
            return _changed(run, phase=Phase.RUNNING, attempt=run.attempt + 1, reason=None)
        case StepSucceeded(result) if run.phase is Phase.RUNNING:
            _present_step(run, plan)
            done = run.step + 1
            last = done == (len(plan.steps) if plan else done)
            return _changed(
                run,
                phase=Phase.SUCCEEDED if last else Phase.READY,
                step=done,
                attempt=0,
                result=run.result if result is None else result,
            )
        case StepFailed(reason, futile) if run.phase is Phase.RUNNING:
            may_again = not futile and run.attempt < _present_step(run, plan).max_attempts
            return _changed(run, phase=Phase.READY if may_again else Phase.FAILED, reason=reason)
        case Cancelled(reason) if not run.phase.is_begun or _present_step(run, plan).may_cancel:
            return _changed(run, phase=Phase.CANCELLED, reason=reason)
        case AgentRestarted():
            return _after_restart(run, plan)
        case PlanLost():
            return _changed(run, phase=Phase.FAILED, reason=_INTERRUPTED_BY_RELEASE)
        case Restored():
            return _changed(run, phase=Phase.FAILED, reason=_OPEN_IN_BACKUP)
    raise ImpossibleTransition(f"{type(event).__name__} cannot follow {run.phase.value}")


_INTERRUPTED_BY_RELEASE: Final = Reason(ReasonCode.INTERRUPTED, "this release of the agent does not know how to go on")

_OPEN_IN_BACKUP: Final = Reason(
    ReasonCode.RESTORED, "the terminal was restored from a backup in which this was open; what came of it is not known"
)


def _after_restart(run: Run, plan: Plan | None) -> Run:
    if run.phase is not Phase.RUNNING:
        return run
    step = _present_step(run, plan)
    if step.if_interrupted is IfInterrupted.FAIL:
        reason = Reason(ReasonCode.INTERRUPTED, f"the agent was stopped in the middle of step {step.name}")
        return _changed(run, phase=Phase.FAILED, reason=reason)
    if run.attempt < step.max_attempts:
        return _changed(run, phase=Phase.READY)
    reason = Reason(ReasonCode.TOO_MANY_TRIES, f"step {step.name} was interrupted {run.attempt} times")
    return _changed(run, phase=Phase.FAILED, reason=reason)


def _present_step(run: Run, plan: Plan | None) -> Step:
    if plan is None or run.step >= len(plan.steps):
        raise ImpossibleTransition("the run has no such step")
    return plan.steps[run.step]


def _changed(
    run: Run,
    *,
    phase: Phase,
    reason: Reason | None = None,
    step: int | None = None,
    attempt: int | None = None,
    result: bytes | None = None,
) -> Run:
    return replace(
        run,
        phase=phase,
        rev=run.rev + 1,
        step=run.step if step is None else step,
        attempt=run.attempt if attempt is None else attempt,
        reason=reason,
        result=run.result if result is None else result,
    )
