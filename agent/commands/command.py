"""What a command is made of, and what an order's arguments make of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from agent.commands.operation import Operation, Touch
from agent.contract.command import Reason, ReasonCode
from agent.workflow.plan import Plan

A = TypeVar("A", bound=Struct)

_STRICTEST: Final = Touch(Operation.APP_REINIT)


class Prepared(Struct, frozen=True):
    """A command with its arguments. ``rule``: the policy's name of this form; ``refusal``: why not on this terminal."""

    plan: Plan
    rule: str
    touch: Touch
    needs_trusted_clock: bool
    needs_serial: bool
    site_wide: bool
    refusal: Reason | None


class Command(Struct, Generic[A], frozen=True, kw_only=True):
    """A command. What depends on the arguments is a function of them; what has the default is the strictest.

    ``arguments`` is a struct that refuses unknown fields; ``touch``: what it does here, for the interlocks;
    ``needs_serial``: the order must name this very piece of hardware; ``site_wide``: may it be ordered of every
    terminal at once; ``refuse``: what only this terminal can know, for one that it has no such device.
    """

    name: str
    arguments: type[A]
    plan: Callable[[A], Plan]
    rule: Callable[[A], str] | None = None
    touch: Callable[[A], Touch] = lambda _arguments: _STRICTEST
    needs_trusted_clock: Callable[[A], bool] = lambda _arguments: True
    needs_serial: Callable[[A], bool] = lambda _arguments: False
    site_wide: Callable[[A], bool] = lambda _arguments: False
    refuse: Callable[[A], Reason | None] = lambda _arguments: None

    def prepare(self, arguments: bytes) -> Prepared | Reason:
        """Decode the arguments (JSON) strictly; a reason when they are not this command's."""
        try:
            decoded = msgspec.json.decode(arguments, type=self.arguments)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as err:
            return Reason(ReasonCode.INVALID_ARGUMENTS, f"wrong at {_place(err)}")
        return Prepared(
            plan=self.plan(decoded),
            rule=self.rule(decoded) if self.rule else self.name,
            touch=self.touch(decoded),
            needs_trusted_clock=self.needs_trusted_clock(decoded),
            needs_serial=self.needs_serial(decoded),
            site_wide=self.site_wide(decoded),
            refusal=self.refuse(decoded),
        )


def _place(err: Exception) -> str:
    """Where in the arguments: a path of our own field names. The rest of the message may repeat what was sent."""
    place = str(err).rpartition(" - at ")[2].strip("`")
    return f"arguments{place.removeprefix('$')}" if place.startswith("$") and "..." not in place else "arguments"
