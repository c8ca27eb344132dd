"""The state machine, by any sequence of events."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from agent.contract.command import Reason, ReasonCode, State
from agent.workflow.plan import IfInterrupted, Plan, Step, StepContext
from agent.workflow.transition import (
    AgentRestarted,
    Cancelled,
    Closed,
    Event,
    Held,
    ImpossibleTransition,
    Phase,
    PlanLost,
    Restored,
    Run,
    StepFailed,
    StepStarted,
    StepSucceeded,
    after,
)

AT = datetime(2026, 11, 21, tzinfo=UTC)
WHY = Reason(ReasonCode.STEP_FAILED, "why")
FRESH = Run("c-1", "ping", b"{}", Phase.ACCEPTED, 1, 0, 2, 0, None, None, None, AT, AT)


async def _nothing(_context: StepContext) -> None:
    return None


def _plan(*steps: tuple[IfInterrupted, int, bool]) -> Plan:
    return Plan(
        tuple(Step(f"s{n}", _nothing, rule, 1.0, tries, may_cancel=safe) for n, (rule, tries, safe) in enumerate(steps))
    )


REPEATING = _plan((IfInterrupted.REPEAT, 3, False), (IfInterrupted.REPEAT, 2, False))
FAILING = _plan((IfInterrupted.FAIL, 1, False), (IfInterrupted.FAIL, 1, False))
SAFE_FIRST = _plan((IfInterrupted.REPEAT, 3, True), (IfInterrupted.FAIL, 1, False))
events = st.sampled_from(
    [
        Held(Reason(ReasonCode.OUTSIDE_WINDOW, "later")),
        Held(Reason(ReasonCode.CLOCK_UNTRUSTED, "later")),
        Closed(Phase.EXPIRED, Reason(ReasonCode.EXPIRED, "late")),
        StepStarted(),
        StepSucceeded(b"1"),
        StepSucceeded(),
        StepFailed(WHY),
        StepFailed(WHY, futile=True),
        AgentRestarted(),
        PlanLost(),
        Restored(),
        Cancelled(WHY),
    ]
)
plans = st.lists(
    st.tuples(st.sampled_from(list(IfInterrupted)), st.integers(1, 3), st.booleans()), min_size=1, max_size=3
).map(lambda steps: _plan(*steps))


@settings(max_examples=500, deadline=None)
@given(plans, st.lists(events, max_size=40))
def test_any_sequence_keeps_the_promises(plan: Plan, sequence: list[Event]) -> None:
    run = replace(FRESH, steps=len(plan.steps))
    for event in sequence:
        try:
            changed = after(run, event, plan)
        except ImpossibleTransition:
            continue
        assert changed.rev == run.rev + (changed is not run)
        assert changed.step in (run.step, run.step + 1)
        assert changed.step <= len(plan.steps)
        if changed.step < len(plan.steps):
            assert changed.attempt <= plan.steps[changed.step].max_attempts + (changed.phase is Phase.RUNNING)
        if run.phase.is_final:
            assert changed is run
        if run.phase.is_begun:
            assert changed.phase not in (Phase.ACCEPTED, Phase.WAITING, Phase.REJECTED, Phase.EXPIRED)
        if changed.phase is Phase.SUCCEEDED:
            assert changed.step == len(plan.steps)
        if changed.phase is Phase.CANCELLED and run.phase.is_begun:
            assert plan.steps[run.step].may_cancel
        run = changed


@settings(max_examples=300, deadline=None)
@given(plans, st.data())
def test_every_run_ends_after_boundedly_many_acts_whatever_happens_to_each(plan: Plan, data: st.DataObject) -> None:
    run, acts = replace(FRESH, steps=len(plan.steps)), 0
    outcomes: st.SearchStrategy[Event] = st.sampled_from([StepSucceeded(), StepFailed(WHY), AgentRestarted()])
    while not run.phase.is_final:
        run = after(run, StepStarted(), plan)
        acts += 1
        run = after(run, data.draw(outcomes), plan)
    assert acts <= sum(step.max_attempts for step in plan.steps)


def test_the_attempt_is_counted_before_the_act() -> None:
    run = after(FRESH, StepStarted(), REPEATING)
    assert (run.phase, run.attempt, run.rev) == (Phase.RUNNING, 1, 2)


def test_steps_follow_each_other_and_the_last_ends_the_run() -> None:
    run = FRESH
    for _ in range(2):
        run = after(run, StepStarted(), REPEATING)
        run = after(run, StepSucceeded(b"1" if run.step == 0 else None), REPEATING)
    assert (run.phase, run.step, run.result, run.rev) == (Phase.SUCCEEDED, 2, b"1", 5)


def test_a_loop_of_reboots_ends() -> None:
    run = FRESH
    for attempt in (1, 2):
        run = after(after(run, StepStarted(), REPEATING), AgentRestarted(), REPEATING)
        assert (run.phase, run.attempt) == (Phase.READY, attempt)
    run = after(after(run, StepStarted(), REPEATING), AgentRestarted(), REPEATING)
    assert run.phase is Phase.FAILED
    assert run.reason is not None
    assert run.reason.code is ReasonCode.TOO_MANY_TRIES


def test_a_step_that_nobody_can_repeat_fails_after_an_interruption() -> None:
    run = after(after(FRESH, StepStarted(), FAILING), AgentRestarted(), FAILING)
    assert run.phase is Phase.FAILED
    assert run.reason is not None
    assert run.reason.code is ReasonCode.INTERRUPTED


@pytest.mark.parametrize("phase", [Phase.ACCEPTED, Phase.WAITING, Phase.READY])
def test_a_restart_between_acts_changes_nothing(phase: Phase) -> None:
    run = replace(FRESH, phase=phase)
    assert after(run, AgentRestarted(), FAILING) is run


def test_a_failure_is_tried_again_until_there_are_no_tries_left() -> None:
    run = FRESH
    for phase in (Phase.READY, Phase.READY, Phase.FAILED):
        run = after(after(run, StepStarted(), REPEATING), StepFailed(WHY), REPEATING)
        assert (run.phase, run.reason) == (phase, WHY)


def test_waiting_for_the_same_reason_is_told_once() -> None:
    held = Held(Reason(ReasonCode.OUTSIDE_WINDOW, "later"))
    run = after(FRESH, held, None)
    assert (run.phase, run.rev) == (Phase.WAITING, 2)
    assert after(run, held, None) is run
    assert after(run, Held(Reason(ReasonCode.CLOCK_UNTRUSTED, "x")), None).rev == 3
    assert after(run, StepStarted(), REPEATING).reason is None


@pytest.mark.parametrize(
    ("phase", "event"),
    [
        (Phase.ACCEPTED, StepSucceeded()),
        (Phase.ACCEPTED, StepFailed(WHY)),
        (Phase.READY, StepSucceeded()),
        (Phase.READY, Held(WHY)),
        (Phase.RUNNING, StepStarted()),
        (Phase.RUNNING, Held(WHY)),
        (Phase.RUNNING, Closed(Phase.EXPIRED, WHY)),
        (Phase.RUNNING, Cancelled(WHY)),
        (Phase.READY, Cancelled(WHY)),
    ],
)
def test_events_that_cannot_happen_are_refused(phase: Phase, event: Event) -> None:
    with pytest.raises(ImpossibleTransition):
        after(replace(FRESH, phase=phase), event, REPEATING)


@pytest.mark.parametrize("phase", [Phase.ACCEPTED, Phase.WAITING, Phase.READY, Phase.RUNNING])
def test_a_run_is_cancelled_while_it_waits_and_at_a_step_that_may_be_left(phase: Phase) -> None:
    cancelled = after(replace(FRESH, phase=phase), Cancelled(WHY), SAFE_FIRST)
    assert (cancelled.phase, cancelled.reason, cancelled.rev) == (Phase.CANCELLED, WHY, 2)
    assert after(cancelled, Cancelled(WHY), SAFE_FIRST) is cancelled
    assert after(cancelled, StepSucceeded(), SAFE_FIRST) is cancelled


def test_a_futile_failure_leaves_no_further_tries() -> None:
    run = after(after(FRESH, StepStarted(), REPEATING), StepFailed(WHY, futile=True), REPEATING)
    assert (run.phase, run.attempt) == (Phase.FAILED, 1)


class Lives(RuleBasedStateMachine):
    """One order through any life: it waits, acts, is interrupted by restarts, is wanted cancelled.

    Kept beside the run: every final state it ever had, and every ``rev``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.run = FRESH
        self.plan = REPEATING
        self.finals: set[Phase] = set()
        self.acts: dict[int, int] = {}
        self.interrupted: dict[int, int] = {}

    @initialize(plan=plans)
    def accepted(self, plan: Plan) -> None:
        self.plan = plan
        self.run = replace(FRESH, steps=len(plan.steps))

    def _happens(self, event: Event) -> None:
        before = self.run
        self.run = after(before, event, self.plan)
        assert self.run.rev in (before.rev, before.rev + 1)
        assert (self.run is before) == (self.run.rev == before.rev)
        if self.run.phase.is_final:
            self.finals.add(self.run.phase)

    @precondition(lambda self: not self.run.phase.is_begun)
    @rule(code=st.sampled_from([ReasonCode.SALE_RUNNING, ReasonCode.OUTSIDE_WINDOW]))
    def held(self, code: ReasonCode) -> None:
        self._happens(Held(Reason(code, "later")))

    @precondition(lambda self: not self.run.phase.is_begun)
    @rule(phase=st.sampled_from([Phase.REJECTED, Phase.EXPIRED]))
    def closed(self, phase: Phase) -> None:
        self._happens(Closed(phase, WHY))

    @precondition(lambda self: self.run.phase in (Phase.ACCEPTED, Phase.WAITING, Phase.READY))
    @rule()
    def begins(self) -> None:
        self._happens(StepStarted())
        self.acts[self.run.step] = self.acts.get(self.run.step, 0) + 1

    @precondition(lambda self: self.run.phase is Phase.RUNNING)
    @rule(event=st.sampled_from([StepSucceeded(b"1"), StepSucceeded(), StepFailed(WHY), StepFailed(WHY, futile=True)]))
    def acted(self, event: Event) -> None:
        self._happens(event)

    @rule()
    def dies_and_starts(self) -> None:
        if self.run.phase is Phase.RUNNING:
            self.interrupted[self.run.step] = self.interrupted.get(self.run.step, 0) + 1
        self._happens(AgentRestarted())

    @precondition(lambda self: not self.run.phase.is_begun or self.plan.steps[self.run.step].may_cancel)
    @rule()
    def cancelled(self) -> None:
        was_final = self.run.phase.is_final
        self._happens(Cancelled(WHY))
        assert was_final or self.run.phase is Phase.CANCELLED

    @invariant()
    def it_has_at_most_one_final_state(self) -> None:
        assert len(self.finals) <= 1
        assert not self.finals or self.run.phase in self.finals

    @invariant()
    def no_act_is_done_more_often_than_it_may(self) -> None:
        for step, count in self.acts.items():
            assert count <= self.plan.steps[step].max_attempts
            if self.plan.steps[step].if_interrupted is IfInterrupted.FAIL and self.interrupted.get(step):
                assert self.run.phase.is_final, "what nobody may repeat is not repeated"


Lives.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestLives = Lives.TestCase


def test_a_run_whose_plan_is_lost_fails() -> None:
    assert after(replace(FRESH, phase=Phase.RUNNING), PlanLost(), None).phase is Phase.FAILED


@pytest.mark.parametrize("phase", list(Phase))
def test_a_run_that_a_backup_held_open_fails_as_restored_and_an_ended_one_stays(phase: Phase) -> None:
    run = replace(FRESH, phase=phase)
    ended = after(run, Restored(), None)
    if phase.is_final:
        assert ended is run
    else:
        assert (ended.phase, ended.rev, ended.reason and ended.reason.code) == (
            Phase.FAILED,
            run.rev + 1,
            ReasonCode.RESTORED,
        )


def test_every_phase_has_a_published_state() -> None:
    assert {phase.state for phase in Phase} == set(State)
    assert Phase.READY.state is State.RUNNING
