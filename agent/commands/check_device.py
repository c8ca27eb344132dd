"""``check_device``: ask one device how it is (UnifiedPOS ``CheckHealth``), ``internal`` or ``external``.

Internal only asks, so it may be repeated and runs beside other operations. External acts where people see it, on a
printer by a test slip, so it has the terminal for itself and is never repeated by itself: after an interruption nobody
knows whether the slip was printed. That a device is not well is a result of the check, not a failure of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from agent.commands.command import Command
from agent.contract.command import Reason, ReasonCode
from agent.workflow.plan import IfInterrupted, Plan, Step, StepContext

INTERNAL_TIMEOUT_S: Final = 15.0
EXTERNAL_TIMEOUT_S: Final = 60.0

Check = Callable[[str, str], Awaitable[Struct]]


class CheckDeviceArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """``device``: its id in the model or configuration."""

    device: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")]
    level: Literal["internal", "external"]


def build_check_device(check: Check, devices: Callable[[], frozenset[str]]) -> Command[CheckDeviceArguments]:
    """``check(device, level)`` answers the device's health; ``devices()``: the ids that can be asked."""

    def plan(arguments: CheckDeviceArguments) -> Plan:
        async def perform(_context: StepContext) -> Struct:
            return await check(arguments.device, arguments.level)

        if arguments.level == "internal":
            step = Step("check", perform, IfInterrupted.REPEAT, INTERNAL_TIMEOUT_S, max_attempts=3)
            return Plan((step,), exclusive=False)
        return Plan((Step("check", perform, IfInterrupted.FAIL, EXTERNAL_TIMEOUT_S),), exclusive=True)

    def refuse(arguments: CheckDeviceArguments) -> Reason | None:
        known = arguments.device in devices()
        return None if known else Reason(ReasonCode.DEVICE_UNKNOWN, "this terminal has no device of that name")

    return Command(
        name="check_device",
        arguments=CheckDeviceArguments,
        plan=plan,
        needs_trusted_clock=lambda arguments: arguments.level != "internal",
        site_wide=lambda arguments: arguments.level == "internal",
        refuse=refuse,
    )
