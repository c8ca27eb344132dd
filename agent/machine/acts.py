"""An act on the machine, and what became of it: forms that the agent shares with whoever carries acts out. No I/O.

The root helper and the supervisor answer in the same words, so that both makes of `agent.machine.machine.Machine`
mean the same by them. An act belongs to an order: the same order id is the same act, done once.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, assert_never

from msgspec import Meta, Struct

from agent.contract.command import ReasonCode
from agent.contract.unit_name import UnitName
from agent.errors import Refused, Unavailable
from agent.machine.machine import UnitState

# One path component, so that it can be a file's name; longer than a command id, for orders that need several acts.
ORDER_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z"

OrderId = Annotated[str, Meta(pattern=ORDER_ID_PATTERN)]
AskId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
Verb = Literal["restart", "reinitialise", "reboot"]


class Act(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be done once. ``unit`` is given for all but ``reboot``."""

    order_id: OrderId
    verb: Verb
    unit: UnitName | None = None


class Outcome(Struct, frozen=True, forbid_unknown_fields=True):
    """What became of an act.

    Attributes:
        end: ``done``; ``refused``: nothing was done, and it may be asked again later; ``failed``: it was tried;
            ``interrupted``: it was begun and nobody knows how far it came. The last two are not repeated.
        reason: Of the command contract; None when done.
        text: For people; says what happened and where to look.
        state: Of the unit afterwards, where there is one.
    """

    act: Act
    end: Literal["done", "refused", "failed", "interrupted"]
    reason: ReasonCode | None = None
    text: str = ""
    state: UnitState | None = None


def refused(act: Act, reason: ReasonCode, text: str) -> Outcome:
    """Nothing was done."""
    return Outcome(act, "refused", reason, text)


def failed(act: Act, text: str, state: UnitState | None = None) -> Outcome:
    """It was tried and did not work."""
    return Outcome(act, "failed", ReasonCode.STEP_FAILED, text, state)


class Asked(Struct, frozen=True, forbid_unknown_fields=True):
    """A request file of the agent. ``ask``: random, so that an old answer is never taken for the new one."""

    ask: AskId
    act: Act


class Answered(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer file of the root helper."""

    ask: AskId
    outcome: Outcome


def form_problem(act: Act) -> str | None:
    """Why verb and unit do not belong together; None when they do."""
    if act.verb == "reboot":
        return "a reboot names no unit" if act.unit is not None else None
    return "this act needs a unit" if act.unit is None else None


def done_or_raise(outcome: Outcome) -> UnitState | None:
    """The unit's state after an act that was done.

    Raises:
        Refused: It was not done, or not wholly; ``facts['reason']`` says which.
    """
    match outcome.end:
        case "done":
            return outcome.state
        case "refused":
            hint = "the list of units and the time between reboots are the machine's own; see [machine]"
        case "failed":
            hint = "the log of the unit and of whoever carried it out say more"
        case "interrupted":
            hint = "it is not repeated under this order; look at the unit, then give a new order"
        case _:
            assert_never(outcome.end)
    raise Refused(outcome.text, reason=outcome.reason or ReasonCode.STEP_FAILED, hint=hint)


def state_or_raise(outcome: Outcome) -> UnitState:
    """As `done_or_raise`, for acts on a unit.

    Raises:
        Refused: It was not done.
        Unavailable: Done, but the answer holds no state.
    """
    state = done_or_raise(outcome)
    if state is None:
        raise Unavailable("the act was done, but the answer does not say how the unit is now")
    return state
