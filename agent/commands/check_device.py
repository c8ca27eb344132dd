"""``check_device``: ask one device how it is (UnifiedPOS ``CheckHealth``), ``internal`` or ``external``.

Internal only asks, so it may be repeated and runs beside other operations. External acts where people see it, on a
printer by a test slip, so it has the terminal for itself and is never repeated by itself: after an interruption nobody
knows whether the slip was printed. That a device is not well is a result of the check, not a failure of it.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from agent.commands.command import Command
from agent.commands.means import Means
from agent.commands.operation import Operation, Touch
from agent.contract.command import DeviceName, Reason, ReasonCode
from agent.workflow.plan import IfInterrupted, Plan, Step, StepContext

INTERNAL_TIMEOUT_S: Final = 15.0
EXTERNAL_TIMEOUT_S: Final = 60.0


class CheckDeviceArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """``device``: its id in the model or configuration."""

    device: DeviceName
    level: Literal["internal", "external"]


def build_check_device(means: Means) -> Command[CheckDeviceArguments]:
    def plan(arguments: CheckDeviceArguments) -> Plan:
        async def perform(_context: StepContext) -> Struct:
            return await means.check(arguments.device, arguments.level)

        if arguments.level == "internal":
            step = Step("check", perform, IfInterrupted.REPEAT, INTERNAL_TIMEOUT_S, max_attempts=3)
            return Plan((step,), exclusive=False)
        return Plan((Step("check", perform, IfInterrupted.FAIL, EXTERNAL_TIMEOUT_S),), exclusive=True)

    def refuse(arguments: CheckDeviceArguments) -> Reason | None:
        known = arguments.device in means.devices()
        return None if known else Reason(ReasonCode.DEVICE_UNKNOWN, "this terminal has no device of that name")

    return Command(
        name="check_device",
        arguments=CheckDeviceArguments,
        plan=plan,
        touch=lambda arguments: Touch(Operation.READING if arguments.level == "internal" else Operation.TEST),
        needs_trusted_clock=lambda arguments: arguments.level != "internal",
        site_wide=lambda arguments: arguments.level == "internal",
        refuse=refuse,
    )
