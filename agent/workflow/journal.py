"""Runs on disk. Every change is one commit together with the state message that tells it.

How a run lies in its table is in ``run_rows.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec.structs import replace

from agent.contract.command import CommandPage, CommandState
from agent.contract.publication import Publication
from agent.errors import BadRequest
from agent.runtime.clock import Clock
from agent.runtime.identifiers import uuid7
from agent.store.database import Database, Worth
from agent.workflow import run_rows as rows
from agent.workflow.plan import Plan
from agent.workflow.transition import Event, Run, after


class RunJournal:
    """The one place that reads and writes runs."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.life = uuid7()
        """Names this process among those that opened runs: its own go to the engine, earlier ones are recovered."""
        self._tell_state: Callable[[CommandState, bool], None] = lambda _state, _exclusive: None

    def on_state(self, tell: Callable[[CommandState, bool], None]) -> None:
        """Have ``tell(state, exclusive)`` called on the loop after each change is durable, each once, in order."""
        self._tell_state = tell

    def changed(self, run: Run, *, exclusive: bool) -> None:
        """A run is durable as it is now; whoever opened it by `run_rows.open_run` says so here."""
        self._tell_state(rows.state_of(run), exclusive)

    async def record(self, run: Run, event: Event, plan: Plan | None) -> Run:
        """Apply ``event`` and store the outcome with its state message; the same run when nothing changes.

        Raises:
            StoreFull, StoreUnavailable: Nothing was stored.
            RunConflict: The row is not what ``run`` says.
        """
        now = self._clock.now()
        changed = replace(after(run, event, plan), updated_at=now)
        if changed.rev == run.rev:
            return run
        await self._database.write(lambda db: rows.update(db, changed, run.rev, now), worth=Worth.RUN)
        self.changed(changed, exclusive=plan is not None and plan.exclusive)
        return changed

    async def get(self, command_id: str) -> CommandState | None:
        """The recorded state of an order."""
        run = await self._database.read(lambda db: rows.find(db, command_id))
        return None if run is None else rows.state_of(run)

    async def list(self, limit: int, cursor: str | None) -> CommandPage:
        """The newest orders first, at most ``limit``.

        Raises:
            BadRequest: A cursor that no list gave.
        """
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
            raise BadRequest("not a cursor of a list of commands", field="cursor")
        before = int(cursor) if cursor is not None else None
        found = await self._database.read(lambda db: rows.newest(db, limit + 1, before))
        following = str(found[limit - 1][0]) if len(found) > limit else None
        return CommandPage(tuple(rows.state_of(run) for _number, run in found[:limit]), following)

    async def begun_since(self, name: str, since: datetime) -> Sequence[Run]:
        """Runs of one command that have begun and were changed after ``since``, which is at most a day ago."""
        return await self._database.read(lambda db: rows.begun_since(db, name, since))

    async def open_runs(self) -> Sequence[Run]:
        """Every run that is not final, the oldest first."""
        return await self._database.read(lambda db: rows.open_runs(db, ""))

    async def left_open(self) -> Sequence[Run]:
        """Those of earlier lives: nobody in this process was handed them."""
        return await self._database.read(lambda db: rows.open_runs(db, self.life))

    async def open_states(self) -> Sequence[CommandState]:
        """The state of every run that is not final, the oldest first."""
        return [rows.state_of(run) for run in await self.open_runs()]

    async def open_publications(self) -> Sequence[Publication]:
        """The state messages of all open operations: a part of the agent's own truth on every connection."""
        return [rows.publication_of(run) for run in await self.open_runs()]

    async def tell(self, command_id: str) -> None:
        """Put the present state into the outbox, if it never was: what a spread-out answer kept back."""
        await self._database.write(lambda db: rows.tell(db, command_id, self._clock.now()), worth=Worth.RUN)

    async def tell_untold(self) -> None:
        """The same for all of earlier lives, after a start."""
        query = "SELECT command_id FROM commands WHERE published_rev < rev AND life <> ?"
        untold = await self._database.read(lambda db: [row[0] for row in db.execute(query, (self.life,))])
        for command_id in untold:
            await self.tell(command_id)

    async def retire(self) -> int:
        """Take back retained messages of what ended a day ago, and forget orders past their expiry.

        Returns how many rows were touched; call it again soon when there were any. What is forgotten raises
        ``replay_floor``, so that it can never be taken for new.
        """
        now = self._clock.now()
        return await self._database.write(lambda db: rows.retire(db, now), worth=Worth.RUN)
