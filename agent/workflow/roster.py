"""The runs that an engine has in hand: waiting or under way, and who wants one of them given up. No I/O in this file.

Times are monotonic seconds. Only the engine's loop changes a waiting run, and only its own task one that is under way;
whoever wants it cancelled asks here and is answered there, so that nobody is in anybody's way.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any, Final

from msgspec import Struct

from agent.contract.command import Reason
from agent.workflow.plan import Plan
from agent.workflow.transition import Run

LONGEST_RETRY_S: Final = 60.0
_SHORTEST_RETRY_S: Final = 1.0


class Cancellation(Enum):
    """What became of the wish to give a run up."""

    DONE = "done"  # it has ended as cancelled
    NOT_NOW = "not_now"  # it is at a step that must not be left in its middle
    NOT_HERE = "not_here"  # the engine does not have it: it has ended, or was never taken


class RunningOperation(Struct, frozen=True):
    """The exclusive run that has begun and not ended. ``retry_after_s``: 1 to 60, when to ask again."""

    command_id: str
    name: str
    retry_after_s: float


class InHand:
    """What waiting runs and those under way have in common: wishes to give them up."""

    __slots__ = ("_wishes", "run")

    def __init__(self, run: Run) -> None:
        self.run = run
        self._wishes: list[tuple[Reason, asyncio.Future[Cancellation]]] = []

    def wish(self, reason: Reason) -> asyncio.Future[Cancellation]:
        """Want it cancelled; the future has the answer. A wish whose future is cancelled is none any more."""
        answer: asyncio.Future[Cancellation] = asyncio.get_running_loop().create_future()
        self._wishes.append((reason, answer))
        return answer

    @property
    def wished(self) -> Reason | None:
        """Why it is to be given up, by the first who still wants it; None: nobody does."""
        return next((reason for reason, answer in self._wishes if not answer.done()), None)

    def answer(self, outcome: Cancellation) -> None:
        """Tell everybody who wanted it cancelled."""
        for _reason, answer in self._wishes:
            if not answer.done():
                answer.set_result(outcome)
        self._wishes.clear()


class Waiting(InHand):
    """A run that has not begun in this process."""

    __slots__ = ("not_before_s", "since_s")

    def __init__(self, run: Run, since_s: float, not_before_s: float) -> None:
        super().__init__(run)
        self.since_s = since_s
        self.not_before_s = not_before_s


class UnderWay(InHand):
    """A run that has begun; ``stirred`` is set when somebody wants it cancelled.

    ``act``: what its step does now; ``tried``: a step was begun in this process.
    """

    __slots__ = ("act", "plan", "stirred", "tried")

    def __init__(self, run: Run, plan: Plan) -> None:
        super().__init__(run)
        self.plan = plan
        self.act: asyncio.Future[Any] | None = None
        self.stirred = asyncio.Event()
        self.tried = False

    @property
    def may_cancel(self) -> bool:
        """Whether it may be given up where it is."""
        return not self.run.phase.is_final and self.plan.steps[self.run.step].may_cancel

    def stir(self) -> None:
        """End the act and the rest between attempts, for the wish to be seen."""
        self.stirred.set()
        if self.act is not None:
            self.act.cancel()


class Holding:
    """Which exclusive run has the terminal for itself: from its beginning to its end, across restarts."""

    def __init__(self) -> None:
        self._run: Run | None = None
        self._plan: Plan | None = None
        self._step_since_s = 0.0

    def take(self, run: Run, plan: Plan, now_s: float) -> None:
        """It begins, or an earlier life of the agent began it."""
        self._run, self._plan, self._step_since_s = run, plan, now_s

    def changed(self, run: Run, now_s: float) -> None:
        """A run has changed; what is not the one that has the terminal does not matter here."""
        if self._run is None or self._run.command_id != run.command_id:
            return
        if run.phase.is_final:
            self._run = self._plan = None
            return
        if (run.step, run.attempt) != (self._run.step, self._run.attempt):
            self._step_since_s = now_s
        self._run = run

    def drop(self, command_id: str) -> None:
        """That one has not got it."""
        if self._run is not None and self._run.command_id == command_id:
            self._run = self._plan = None

    def now(self, now_s: float) -> RunningOperation | None:
        """The one that has it; how long it still takes is guessed from what its steps are given at most."""
        if self._run is None or self._plan is None:
            return None
        limits_s = sum(step.timeout_s for step in self._plan.steps[self._run.step :])
        left_s = limits_s - (now_s - self._step_since_s)
        retry_after_s = min(max(left_s, _SHORTEST_RETRY_S), LONGEST_RETRY_S)
        return RunningOperation(self._run.command_id, self._run.name, round(retry_after_s, 1))
