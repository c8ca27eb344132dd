"""``ping``: does the whole way work, from the order's signature to the state message? It touches no device."""

from __future__ import annotations

from msgspec import Struct

from agent.commands.command import Command
from agent.commands.operation import Operation, Touch
from agent.workflow.plan import IfInterrupted, Plan, Step, StepContext


class PingArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """None."""


def build_ping() -> Command[PingArguments]:
    return Command(
        name="ping",
        arguments=PingArguments,
        plan=lambda _arguments: _PLAN,
        touch=lambda _arguments: Touch(Operation.READING),
        needs_trusted_clock=lambda _arguments: False,
        site_wide=lambda _arguments: True,
    )


async def _answer(_context: StepContext) -> None:
    """The state message is the answer."""


_PLAN = Plan((Step("answer", _answer, IfInterrupted.REPEAT, timeout_s=5.0, max_attempts=3),), exclusive=False)
