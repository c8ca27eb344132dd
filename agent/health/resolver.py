"""Resolving names in a thread of its own: a resolver that hangs harms only the name that it hangs at."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from agent.health.blocking_reader import BlockingReader
from drivers.reach_contract import ReachTarget, Resolved

LookUp = Callable[[ReachTarget], Resolved]


class Resolver:
    """``look_up`` blocks and never raises. One question at a time for each target; at most one lost thread for each."""

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._reader: BlockingReader[Resolved] = BlockingReader("name-resolver", _late)

    async def resolve(self, target: ReachTarget, deadline_s: float) -> Resolved:
        """What the name stands for; after ``deadline_s``, that it is not known."""
        answer = _late(deadline_s)
        async for answers in self._reader.read({target.name: partial(self._look_up, target)}, deadline_s):
            answer = answers[target.name]
        return answer


def _late(deadline_s: float) -> Resolved:
    return Resolved((), f"no name server answers within {deadline_s:g} s")
