"""``rebirth``: publish birth and the own truth again, for whoever lost what is retained. Touches nothing here."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from agent.commands.command import Command
from agent.commands.means import Means
from agent.commands.operation import Operation, Touch
from agent.workflow.plan import IfInterrupted, Plan, Step, StepContext

TIMEOUT_S: Final = 30.0


class RebirthArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """None."""


class Rebirth(Struct, frozen=True):
    """The result. ``published``: false when there is no link; it is published on the next connection anyway."""

    published: bool


def build_rebirth(means: Means) -> Command[RebirthArguments]:
    async def perform(_context: StepContext) -> Struct:
        return Rebirth(published=await means.announce())

    plan = Plan((Step("announce", perform, IfInterrupted.REPEAT, TIMEOUT_S, max_attempts=3),), exclusive=False)
    return Command(
        name="rebirth",
        arguments=RebirthArguments,
        plan=lambda _arguments: plan,
        touch=lambda _arguments: Touch(Operation.READING),
        needs_trusted_clock=lambda _arguments: False,
        site_wide=lambda _arguments: True,
    )
