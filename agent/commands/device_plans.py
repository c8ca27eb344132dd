"""What ``reset`` and ``reinit`` do to one device: read it afresh, recover it, set it to its standard state.

An effect at a device is never repeated by itself: after an interruption in its middle nobody knows what the device did.
What the device said before is kept in the result; a reset never clears evidence.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from agent.commands.means import Means
from agent.commands.operation import Touch
from agent.contract.command import Reason, ReasonCode
from agent.contract.health import DeviceHealth, State
from agent.errors import Refused
from agent.workflow.plan import Futile, IfInterrupted, Plan, Step, StepContext
from drivers.contract import Initialisable, Recoverable
from drivers.errors import DeviceFault, DriverError

ACT_DEADLINE_S: Final = 20.0
ASK_TIMEOUT_S: Final = 20.0
PREPARE_TIMEOUT_S: Final = 30.0
_WELL: Final = frozenset({State.OK, State.DEGRADED})

Act = Callable[[float], Awaitable[None]]
"""Takes the seconds it is given; raises `DriverError`."""


class DeviceOutcome(Struct, frozen=True):
    """The result. ``before``: as known when it began; ``after``: as asked at its end; ``noted``: by the interlocks."""

    device: str
    before: DeviceHealth | None
    after: DeviceHealth | None = None
    noted: tuple[Reason, ...] = ()


def read_again(means: Means, device: str) -> Plan:
    """Close the port, open it again, ask. That the device is not well is a result, not a failure."""

    async def perform(_context: StepContext) -> Struct:
        port = means.ports.get(device)
        if port is not None:
            await port.close()
        return await means.check(device, "internal")

    step = Step("reread", perform, IfInterrupted.REPEAT, ASK_TIMEOUT_S, max_attempts=3)
    return Plan((step,), exclusive=False)


def recover(means: Means, device: str, touch: Touch) -> Plan:
    """Recover it; then it must be well."""

    def find() -> Act | None:
        port = means.ports.get(device)
        return port.recover if isinstance(port, Recoverable) else None

    return _plan(means, device, touch, _Kind("reset", "recover", find))


def initialise(means: Means, device: str, touch: Touch) -> Plan:
    """Set it to its standard state; then it must be well."""

    def find() -> Act | None:
        port = means.ports.get(device)
        return port.initialise if isinstance(port, Initialisable) else None

    return _plan(means, device, touch, _Kind("reinit", "initialise", find))


def can_recover(means: Means, device: str) -> bool:
    return isinstance(means.ports.get(device), Recoverable)


def can_initialise(means: Means, device: str) -> bool:
    return isinstance(means.ports.get(device), Initialisable)


class _Kind(NamedTuple):
    """Of which command; the name of the step that acts; the act, None when the device is not there any more."""

    command: str
    step: str
    find: Callable[[], Act | None]


def _plan(means: Means, device: str, touch: Touch, kind: _Kind) -> Plan:
    async def prepare(context: StepContext) -> Struct:
        noted = await means.notes(context.command_id, kind.command, touch)
        return DeviceOutcome(device, means.health_of(device), noted=noted)

    async def act(_context: StepContext) -> None:
        act_on_it = kind.find()
        if act_on_it is None:
            raise Futile("the device is not there any more", reason=ReasonCode.DEVICE_UNKNOWN)
        try:
            await act_on_it(ACT_DEADLINE_S)
        except DeviceFault as err:
            raise Refused(f"the device says: {err.detail}", reason=ReasonCode.NOT_VERIFIED) from err
        except DriverError as err:
            raise Refused(err.detail, reason=ReasonCode.STEP_FAILED) from err

    async def verify(context: StepContext) -> Struct:
        so_far = msgspec.json.decode(context.result or b"", type=DeviceOutcome)
        health = await means.check(device, "internal")
        if not isinstance(health, DeviceHealth) or health.state not in _WELL:
            what = f"{health.state.value}: {health.detail}" if isinstance(health, DeviceHealth) else "unknown"
            raise Refused(f"afterwards the device is {what}", reason=ReasonCode.NOT_VERIFIED)
        return msgspec.structs.replace(so_far, after=health)

    return Plan(
        (
            Step("prepare", prepare, IfInterrupted.REPEAT, PREPARE_TIMEOUT_S, max_attempts=3, may_cancel=True),
            Step(kind.step, act, IfInterrupted.FAIL, ACT_DEADLINE_S + 5.0),
            Step("verify", verify, IfInterrupted.REPEAT, ASK_TIMEOUT_S, max_attempts=3, retry_after_s=2.0),
        )
    )
