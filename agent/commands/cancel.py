"""``cancel``: give up an order that waits, or that is at a step which may be left.

It runs beside others, so that it reaches what holds the terminal. An order that is cancelled already is a success:
nobody can tell whose word it was, and the outcome is the one that was wanted.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from agent.commands.command import Command
from agent.commands.means import Means
from agent.commands.operation import Operation, Touch
from agent.contract.command import CommandId, Reason, ReasonCode, State
from agent.errors import Refused
from agent.workflow.plan import Futile, IfInterrupted, Plan, Step, StepContext
from agent.workflow.roster import Cancellation

TIMEOUT_S: Final = 20.0


class CancelArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """``command_id``: of the order to give up."""

    command_id: CommandId


class Cancelling(Struct, frozen=True):
    """The result: what was cancelled."""

    command_id: str
    name: str


def build_cancel(means: Means) -> Command[CancelArguments]:
    def plan(arguments: CancelArguments) -> Plan:
        async def perform(context: StepContext) -> Struct:
            return await _cancel(means, arguments.command_id, context.command_id)

        return Plan((Step("cancel", perform, IfInterrupted.REPEAT, TIMEOUT_S, max_attempts=3),), exclusive=False)

    return Command(
        name="cancel",
        arguments=CancelArguments,
        plan=plan,
        touch=lambda _arguments: Touch(Operation.READING),
    )


async def _cancel(means: Means, wanted_id: str, own_id: str) -> Struct:
    outcome = await means.cancel(wanted_id, Reason(ReasonCode.CANCELLED, f"cancelled by order {own_id}"))
    if outcome is Cancellation.NOT_NOW:
        raise Futile("it is at a step that must not be left in its middle", reason=ReasonCode.OPERATION_RUNNING)
    state = await means.find(wanted_id)
    if state is None:
        raise Futile("this terminal has no order of that id", reason=ReasonCode.INVALID_ARGUMENTS)
    if state.state is State.CANCELLED:
        return Cancelling(state.command_id, state.name)
    if state.state.is_final:
        raise Futile(f"it has ended already, as {state.state.value}", reason=ReasonCode.INVALID_REQUEST)
    raise Refused("it has just come in; ask again", reason=ReasonCode.OPERATION_RUNNING)  # the engine takes it at once
