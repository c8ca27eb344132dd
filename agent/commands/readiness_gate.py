"""The gate at the end of an operation: a terminal that could sell before can sell after it, or the operation failed."""

from __future__ import annotations

import asyncio
from typing import Final

from agent.commands.means import Means
from agent.contract.command import ReasonCode
from agent.contract.selling import START_GRACE_S
from agent.workflow.plan import Futile

READY_WITHIN_S: Final = START_GRACE_S + 20.0
"""For an agent, its devices and its payment applications to come up. Typical: 30 to 90 s after a boot."""
_LOOK_AGAIN_S: Final = 1.0


def is_ready(means: Means) -> bool | None:
    """Can it sell, as far as is known now? None where nobody watches."""
    return means.health().readiness.ready if means.health is not None else None


async def ready_again(means: Means, was_ready: bool | None, within_s: float = READY_WITHIN_S) -> bool | None:
    """Ask every device afresh until the terminal can sell; returns whether it can, None where nobody watches.

    What was stored before a restart says nothing about now, so devices are asked at least once; and after a start the
    payment applications must have reported, because before that nobody calls their silence a fault. A terminal that
    could not sell before is asked once and not waited for.

    Raises:
        Futile: It could sell before, and cannot within ``within_s`` seconds.
    """
    ends_s = means.clock.monotonic() + within_s
    while True:
        await asyncio.gather(*(means.check(name, "internal") for name in means.ports))
        now, is_start = is_ready(means), means.selling().start_left_s is not None
        if not was_ready or now is None or (now and not is_start):
            return now
        if means.clock.monotonic() >= ends_s:
            reasons = means.health().readiness.reasons if means.health is not None else ()
            why = ", ".join(sorted({reason.code for reason in reasons})) or "an application has not reported"
            raise Futile(f"it could sell before and cannot now: {why}", reason=ReasonCode.NOT_VERIFIED)
        await means.clock.sleep(_LOOK_AGAIN_S)
