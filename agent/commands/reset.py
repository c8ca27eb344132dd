"""``reset``: bring something back to work, by levels: read a device afresh, recover it, restart an application, a
service, the machine. Source: the domain's reset levels R0 to R5.

What each level does is in ``device_plans.py``, ``unit_plans.py`` and ``reboot_plan.py``; what holds it back is in
``interlocks.py``. Cutting the power (``power_cycle``) needs hardware that this release drives on no terminal.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from agent.commands import device_plans
from agent.commands.command import Command
from agent.commands.means import Means
from agent.commands.operation import Operation, Touch
from agent.commands.reboot_plan import reboot_plan
from agent.commands.unit_plans import UnitPlans
from agent.contract.command import DeviceName, Reason, ReasonCode
from agent.contract.unit_name import UnitName
from agent.workflow.plan import Plan

Level = Literal["reread", "device", "app", "service", "reboot", "power_cycle"]

_OPERATIONS: Final[dict[Level, Operation]] = {
    "reread": Operation.READING,
    "device": Operation.DEVICE,
    "app": Operation.APP_RESET,
    "service": Operation.SERVICE,
    "reboot": Operation.REBOOT,
    "power_cycle": Operation.REBOOT,
}


class ResetArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """``device``: for ``reread`` and ``device``, needed; ``unit``: for ``app`` and ``service``.

    Without ``unit`` the level ``app`` means the only configured application, and ``service`` the agent itself. With
    ``force``, which two people must sign, what would be refused for the sake of money is done and recorded.
    """

    level: Level
    device: DeviceName | None = None
    unit: UnitName | None = None
    force: bool = False


def build_reset(means: Means) -> Command[ResetArguments]:
    units = UnitPlans(means, "reset")

    def touch(arguments: ResetArguments) -> Touch:
        if arguments.level == "reread":
            return Touch(Operation.READING)
        target = arguments.device or _unit(means, arguments) or ""
        return Touch(_OPERATIONS[arguments.level], arguments.force, f"{arguments.level} {target}")

    def plan(arguments: ResetArguments) -> Plan:
        match arguments.level:
            case "reread":
                return device_plans.read_again(means, arguments.device or "")
            case "device":
                return device_plans.recover(means, arguments.device or "", touch(arguments))
            case "app" | "service":
                return units.restart(_unit(means, arguments) or "", touch(arguments))
        return reboot_plan(means, touch(arguments))

    return Command(
        name="reset",
        arguments=ResetArguments,
        plan=plan,
        rule=lambda arguments: "reset.force" if arguments.force else "reset",
        touch=touch,
        refuse=lambda arguments: _refusal(means, arguments),
    )


def _unit(means: Means, arguments: ResetArguments) -> str | None:
    if arguments.unit is not None or arguments.level not in ("app", "service"):
        return arguments.unit
    if arguments.level == "app":
        return next(iter(means.applications)) if len(means.applications) == 1 else None
    return means.machine.own_unit if means.machine is not None else None


def _refusal(means: Means, arguments: ResetArguments) -> Reason | None:
    level = arguments.level
    if (arguments.device is not None) != (level in ("reread", "device")):
        if arguments.device is None:
            return _wrong(f"level {level} needs a device")
        if level != "power_cycle":
            return _wrong(f"level {level} takes no device")
    if arguments.unit is not None and level not in ("app", "service"):
        return _wrong(f"level {level} takes no unit")
    match level:
        case "reread":
            return _unknown_device(means, arguments.device)
        case "device":
            unknown = _unknown_device(means, arguments.device)
            if unknown is None and not device_plans.can_recover(means, arguments.device or ""):
                return _wrong("there is nothing in this device that could be reset; reread it, or restart the machine")
            return unknown
        case "power_cycle":
            return _wrong("this terminal has no means to cut power that the agent could use; try reboot")
    if means.machine is None:
        return _wrong("no machine adapter is configured here: units and the machine are not the agent's to restart")
    return None if level == "reboot" else unit_refusal(means, _unit(means, arguments), is_application=level == "app")


def unit_refusal(means: Means, unit: str | None, *, is_application: bool) -> Reason | None:
    """Why that unit may not be touched here; None when it may."""
    if is_application and not means.applications:
        return _wrong("no payment application is configured")
    if unit is None:
        return _wrong("several payment applications are configured: name the unit")
    if is_application and unit not in means.applications:
        return _wrong("no payment application is configured for that unit")
    machine = means.machine
    if machine is None or (unit != machine.own_unit and unit not in machine.units):
        return _wrong("that unit is not one of those that may be restarted here")
    return None


def _unknown_device(means: Means, device: str | None) -> Reason | None:
    known = device in means.devices()
    return None if known else Reason(ReasonCode.DEVICE_UNKNOWN, "this terminal has no device of that name")


def _wrong(text: str) -> Reason:
    return Reason(ReasonCode.INVALID_ARGUMENTS, text)
