"""What ``reset`` and ``reinit`` do to a unit: an application, the agent itself, another listed service.

The machine's keeper does each act once an order, however often it is asked; so an interrupted step may ask again. Proof
is what the keeper says afterwards: the unit runs, by another invocation than before. For the agent's own unit the
process is ended in the middle, and the next one finds the proof. An application that spoke before must speak again.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from agent.commands.means import Means
from agent.commands.operation import Touch
from agent.commands.readiness_gate import READY_WITHIN_S, is_ready, ready_again
from agent.contract.command import Reason, ReasonCode
from agent.contract.selling import STALE_AFTER_S
from agent.errors import Refused
from agent.machine.machine import UnitState
from agent.workflow.plan import Futile, IfInterrupted, Perform, Plan, Step, StepContext

PREPARE_TIMEOUT_S: Final = 120.0
JOURNAL_TIMEOUT_S: Final = 900.0
ACT_TIMEOUT_S: Final = 160.0
ACTIVE_WITHIN_S: Final = 30.0
SETTLED_AFTER_S: Final = 1.0
REPORTS_WITHIN_S: Final = STALE_AFTER_S
SILENT_WAITED_FOR_S: Final = 5.0
VERIFY_TIMEOUT_S: Final = ACTIVE_WITHIN_S + REPORTS_WITHIN_S + READY_WITHIN_S + 60.0
_LOOK_AGAIN_S: Final = 0.5


class UnitOutcome(Struct, frozen=True, kw_only=True):
    """The result.

    Attributes:
        app_reported: The application gave a status after its start; None where the unit is no application's.
        app_spoke: It had done so shortly before the order.
        pending_reversals, unknown_results, saf_count: Of all applications, before.
        ready_before, ready: Could the terminal sell, can it.
        noted: What the interlocks found and did not stop.
    """

    unit: str
    application: str | None
    invocation_before: str | None
    invocation: str | None = None
    app_spoke: bool | None = None
    app_reported: bool | None = None
    pending_reversals: int = 0
    unknown_results: int = 0
    saf_count: int = 0
    ready_before: bool | None = None
    ready: bool | None = None
    noted: tuple[Reason, ...] = ()


class UnitPlans:
    """Plans of orders on units. One for each command, whose name it knows."""

    def __init__(self, means: Means, command: str) -> None:
        self._means = means
        self._command = command
        self._restarted_s: dict[str, float] = {}  # order → when its act ended, in this process

    def restart(self, unit: str, touch: Touch) -> Plan:
        """Stop and start it."""

        async def act(context: StepContext) -> None:
            await self._means.the_machine().restart(unit, context.command_id)
            self._restarted_s[context.command_id] = self._means.clock.monotonic()

        return self._plan(unit, touch, "restart", act, check_journal=False)

    def reinitialise(self, unit: str, touch: Touch) -> Plan:
        """See that the journal is whole, then stop it, clear its caches, start it."""

        async def act(context: StepContext) -> None:
            await self._means.the_machine().reinitialise(unit, context.command_id)
            self._restarted_s[context.command_id] = self._means.clock.monotonic()

        return self._plan(unit, touch, "reinitialise", act, check_journal=True)

    def _plan(self, unit: str, touch: Touch, name: str, act: Perform, *, check_journal: bool) -> Plan:
        repeat = IfInterrupted.REPEAT

        async def prepare(context: StepContext) -> Struct:
            return await self._prepare(unit, touch, context.command_id)

        async def verify(context: StepContext) -> Struct:
            so_far = msgspec.json.decode(context.result or b"", type=UnitOutcome)
            return await self._verify(so_far, context.command_id)

        journal = Step("journal", self._check_journal, repeat, JOURNAL_TIMEOUT_S, max_attempts=3, may_cancel=True)
        steps = (
            Step("prepare", prepare, repeat, PREPARE_TIMEOUT_S, max_attempts=3, may_cancel=True),
            Step(name, act, repeat, ACT_TIMEOUT_S, max_attempts=3, retry_after_s=2.0),
            Step("verify", verify, repeat, VERIFY_TIMEOUT_S, max_attempts=3, retry_after_s=2.0),
        )
        return Plan((journal, *steps) if check_journal else steps)

    async def _check_journal(self, _context: StepContext) -> None:
        verify = self._means.verify_journal
        verification = await verify() if verify is not None else None
        if verification is not None and not verification.intact:
            text = f"the journal is not whole after sequence {verification.upto_sequence}: nothing was touched"
            raise Futile(text, reason=ReasonCode.NOT_VERIFIED)

    async def _prepare(self, unit: str, touch: Touch, command_id: str) -> Struct:
        means = self._means
        before, selling = await means.the_machine().unit_state(unit), means.selling()
        application = means.applications.get(unit)
        reported_s = means.last_report_s(unit)
        spoke = reported_s is not None and means.clock.monotonic() - reported_s <= STALE_AFTER_S
        return UnitOutcome(
            unit=unit,
            application=application,
            invocation_before=before.invocation,
            app_spoke=None if application is None else spoke,
            pending_reversals=selling.pending_reversals,
            unknown_results=selling.unknown_results,
            saf_count=selling.saf_count,
            ready_before=is_ready(means),
            noted=await means.notes(command_id, self._command, touch),
        )

    async def _verify(self, so_far: UnitOutcome, command_id: str) -> Struct:
        state = await self._started(so_far)
        reported: bool | None = None
        if so_far.application is not None:
            reported = await self._reports(so_far, command_id)
        ready = await ready_again(self._means, so_far.ready_before)
        self._restarted_s.pop(command_id, None)
        return msgspec.structs.replace(so_far, invocation=state.invocation, app_reported=reported, ready=ready)

    async def _started(self, so_far: UnitOutcome) -> UnitState:
        """The unit, once it runs afresh and has not fallen over at once."""
        clock, machine = self._means.clock, self._means.the_machine()
        ends_s = clock.monotonic() + ACTIVE_WITHIN_S
        while True:
            state = await machine.unit_state(so_far.unit)
            if state.active == "active" and state.invocation not in (None, so_far.invocation_before):
                await clock.sleep(SETTLED_AFTER_S)
                later = await machine.unit_state(so_far.unit)
                if (later.active, later.invocation) == (state.active, state.invocation):
                    return later
            if clock.monotonic() >= ends_s:
                raise Refused(self._why_not(state, so_far), reason=ReasonCode.NOT_VERIFIED)
            await clock.sleep(_LOOK_AGAIN_S)

    def _why_not(self, state: UnitState, so_far: UnitOutcome) -> str:
        if state.active != "active":
            return f"{so_far.unit} is {state.active} afterwards"
        if state.invocation == so_far.invocation_before:
            return f"{so_far.unit} runs as before: it was not started afresh"
        return f"{so_far.unit} does not stay up"

    async def _reports(self, so_far: UnitOutcome, command_id: str) -> bool:
        """Whether the application gives a status after its start; one that was silent is not waited for long."""
        clock = self._means.clock
        # Restarted by an earlier process: whatever was heard in this one came after it.
        since_s = self._restarted_s.get(command_id)
        ends_s = clock.monotonic() + (REPORTS_WITHIN_S if so_far.app_spoke else SILENT_WAITED_FOR_S)
        while True:
            heard_s = self._means.last_report_s(so_far.unit)
            if heard_s is not None and (since_s is None or heard_s >= since_s):
                return True
            if clock.monotonic() >= ends_s:
                break
            await clock.sleep(_LOOK_AGAIN_S)
        if so_far.app_spoke:
            text = f"the application runs, but has not reported within {REPORTS_WITHIN_S:.0f} s as it did before"
            raise Futile(text, reason=ReasonCode.NOT_VERIFIED)
        return False
