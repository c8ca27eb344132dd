"""Commands made for tests of the engine: steps that count, fail, hang, and a store that dies at a chosen write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from agent.commands.command import Command
from agent.runtime.clock import Clock
from agent.store.database import Connection, Database, Worth
from agent.workflow.plan import IfInterrupted, Perform, Plan, Step, StepContext

T = TypeVar("T")


class NoArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """None."""


class Tally(Struct, frozen=True):
    count: int


class Work:
    """Acts that are counted, by the name of the step."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def step(
        self,
        name: str,
        if_interrupted: IfInterrupted = IfInterrupted.REPEAT,
        perform: Perform | None = None,
        *,
        timeout_s: float = 5.0,
        max_attempts: int = 3,
        retry_after_s: float = 0.0,
        may_cancel: bool = False,
    ) -> Step:
        async def act(context: StepContext) -> Struct | None:
            self.done.append(name)
            return await perform(context) if perform else Tally(len(self.done))

        return Step(name, act, if_interrupted, timeout_s, max_attempts, retry_after_s, may_cancel)


def command(
    name: str, *steps: Step, exclusive: bool = True, needs_trusted_clock: bool = False
) -> dict[str, Command[NoArguments]]:
    """A catalog of one, whose rule is that of ``ping`` so that the usual support person may order it."""
    one = Command(
        name=name,
        arguments=NoArguments,
        plan=lambda _arguments: Plan(steps, exclusive=exclusive),
        rule=lambda _arguments: "ping",
        needs_trusted_clock=lambda _arguments: needs_trusted_clock,
    )
    return {name: one}


class DyingDatabase(Database):
    """A store whose process dies at the n-th write of a run: just before it, or when it is durable but not known yet.

    Afterwards nothing is ever answered, as in a process that is gone. ``writes`` counts, so that points are found.
    """

    def __init__(self, path: Path, clock: Clock, *, die_at: int | None = None, durable: bool = False) -> None:
        super().__init__(path, clock)
        self.writes = 0
        self.dead = asyncio.Event()
        self._die_at = die_at
        self._durable = durable

    def submit(self, job: Callable[[Connection], T], *, worth: Worth) -> asyncio.Future[T]:
        nobody_hears: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self.dead.is_set():
            return nobody_hears
        assert worth is Worth.RUN
        self.writes += 1
        if self.writes != self._die_at:
            return super().submit(job, worth=worth)
        if self._durable:
            super().submit(job, worth=worth).add_done_callback(lambda _done: self.dead.set())
        else:
            self.dead.set()
        return nobody_hears


def dying(die_at: int | None, *, durable: bool) -> Callable[[Path, Clock], Database]:
    """What a room makes its store with."""
    return lambda path, clock: DyingDatabase(path, clock, die_at=die_at, durable=durable)
