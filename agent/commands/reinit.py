"""``reinit``: set something to its standard state. Source: the domain's level R6, of which this does a device and an
application; a whole terminal needs a signed default configuration to go back to, which this release does not have.

It deletes no journal row, changes no binding, and touches no key, counter or audit chain.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from agent.commands import device_plans
from agent.commands.command import Command
from agent.commands.means import Means
from agent.commands.operation import Operation, Touch
from agent.commands.reset import unit_refusal
from agent.commands.unit_plans import UnitPlans
from agent.contract.command import DeviceName, Reason, ReasonCode
from agent.workflow.plan import Plan


class ReinitArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """``device``: for scope ``device``, needed. Scope ``app`` means the only configured application."""

    scope: Literal["device", "app", "terminal"]
    device: DeviceName | None = None


def build_reinit(means: Means) -> Command[ReinitArguments]:
    units = UnitPlans(means, "reinit")

    def touch(arguments: ReinitArguments) -> Touch:
        if arguments.scope == "device":
            return Touch(Operation.DEVICE, target=f"device {arguments.device}")
        return Touch(Operation.APP_REINIT, target=arguments.scope)

    def plan(arguments: ReinitArguments) -> Plan:
        if arguments.scope == "device":
            return device_plans.initialise(means, arguments.device or "", touch(arguments))
        return units.reinitialise(_only_application(means) or "", touch(arguments))

    return Command(
        name="reinit",
        arguments=ReinitArguments,
        plan=plan,
        rule=lambda arguments: "reinit.terminal" if arguments.scope == "terminal" else "reinit",
        touch=touch,
        needs_serial=lambda arguments: arguments.scope == "terminal",
        refuse=lambda arguments: _refusal(means, arguments),
    )


def _only_application(means: Means) -> str | None:
    return next(iter(means.applications)) if len(means.applications) == 1 else None


def _refusal(means: Means, arguments: ReinitArguments) -> Reason | None:
    scope, device = arguments.scope, arguments.device
    if (device is not None) != (scope == "device"):
        return _wrong(f"scope {scope} takes no device" if device is not None else "scope device needs a device")
    if scope == "terminal":
        return _wrong("this release has no standard state of a whole terminal to go back to; do device and app instead")
    if scope == "app":
        if means.machine is None:
            return _wrong("no machine adapter is configured here: units are not the agent's to restart")
        return unit_refusal(means, _only_application(means), is_application=True)
    if device not in means.devices():
        return Reason(ReasonCode.DEVICE_UNKNOWN, "this terminal has no device of that name")
    if not device_plans.can_initialise(means, device or ""):
        return _wrong("this device has no standard state that could be set")
    return None


def _wrong(text: str) -> Reason:
    return Reason(ReasonCode.INVALID_ARGUMENTS, text)
