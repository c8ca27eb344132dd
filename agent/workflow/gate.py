"""The question whether a run may begin now: asked by the engine, answered by whoever knows what orders mean."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from agent.contract.command import Reason
from agent.workflow.transition import Closed, Run


class Hold(Struct, frozen=True):
    """Not now. ``look_again_s``: when to ask again, besides whenever the engine is woken."""

    reason: Reason
    look_again_s: float


Gate = Callable[[float], Hold | Closed | None]
"""May it begin, having waited so long (monotonic)? None is yes. Asked in the very turn of the loop in which it begins,
so that nothing can come between the answer and the beginning."""

GateFor = Callable[[Run], Awaitable[Gate]]
"""Fetches what takes time, for that run; the rest is asked through what it returns."""
