"""``reset reboot``: an orderly restart of the machine, proved by another ``boot_id`` than before.

The step that asks for it may be interrupted anywhere, and is: the machine goes down in its middle. After the start the
same step finds another ``boot_id`` and is done; with the old one it asks again, under the same order id.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from agent.commands.means import Means
from agent.commands.operation import Touch
from agent.commands.readiness_gate import READY_WITHIN_S, is_ready, ready_again
from agent.contract.command import Reason, ReasonCode
from agent.errors import Refused
from agent.runtime.boot_identity import UNKNOWN_BOOT
from agent.workflow.plan import Futile, IfInterrupted, Plan, Step, StepContext

PREPARE_TIMEOUT_S: Final = 120.0
DOWN_WITHIN_S: Final = 150.0
_MARGIN_S: Final = 60.0


class RebootOutcome(Struct, frozen=True, kw_only=True):
    """The result. ``boot_id`` is the proof; ``noted``: what the interlocks found and did not stop."""

    boot_id_before: str
    boot_id: str | None = None
    ready_before: bool | None = None
    ready: bool | None = None
    pending_reversals: int = 0
    unknown_results: int = 0
    saf_count: int = 0
    noted: tuple[Reason, ...] = ()


def reboot_plan(means: Means, touch: Touch) -> Plan:
    async def prepare(context: StepContext) -> Struct:
        selling, boot_id = means.selling(), means.the_machine().boot_id()
        if boot_id == UNKNOWN_BOOT:
            raise Futile("the machine does not say which boot this is: no proof", reason=ReasonCode.NOT_VERIFIED)
        return RebootOutcome(
            boot_id_before=boot_id,
            ready_before=is_ready(means),
            pending_reversals=selling.pending_reversals,
            unknown_results=selling.unknown_results,
            saf_count=selling.saf_count,
            noted=await means.notes(context.command_id, "reset", touch),
        )

    async def reboot(context: StepContext) -> Struct:
        machine, so_far = means.the_machine(), _outcome(context)
        boot_id = machine.boot_id()
        if boot_id not in (so_far.boot_id_before, UNKNOWN_BOOT):
            return msgspec.structs.replace(so_far, boot_id=boot_id)
        refusal: Refused | None = None
        try:
            await machine.reboot(context.command_id)
        except Refused as err:
            if context.attempt == 1:  # nothing was asked before, so nothing is on its way, and sales wait for this
                raise Futile(err.message, reason=err.reason) from err
            refusal = err  # asked for before: it may be on its way, and refused for that
        await means.clock.sleep(DOWN_WITHIN_S)  # the process is ended in the middle of this
        if refusal is not None:
            raise Futile(refusal.message, reason=refusal.reason)
        raise Futile(f"the machine did not go down within {DOWN_WITHIN_S:.0f} s", reason=ReasonCode.NOT_VERIFIED)

    async def verify(context: StepContext) -> Struct:
        so_far = _outcome(context)
        ready = await ready_again(means, so_far.ready_before)
        return msgspec.structs.replace(so_far, ready=ready)

    repeat = IfInterrupted.REPEAT
    return Plan(
        (
            Step("prepare", prepare, repeat, PREPARE_TIMEOUT_S, max_attempts=3, may_cancel=True),
            Step("reboot", reboot, repeat, DOWN_WITHIN_S + _MARGIN_S, max_attempts=4, retry_after_s=5.0),
            Step("verify", verify, repeat, READY_WITHIN_S + _MARGIN_S, max_attempts=3, retry_after_s=2.0),
        )
    )


def _outcome(context: StepContext) -> RebootOutcome:
    return msgspec.json.decode(context.result or b"", type=RebootOutcome)
