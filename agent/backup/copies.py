"""The backups of this terminal as the other rooms see them: make one now, look at them, list them.

Each target has its own `Copier`, which knows no other: one that is broken or gone holds nothing up elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Final, Protocol, TypeVar

import structlog

from agent.contract.backup_views import (
    BackupItem,
    BackupKind,
    BackupPage,
    BackupResult,
    TargetItem,
    TargetProblem,
    VerifyResult,
)
from agent.errors import NotFound, TargetUnusable
from agent.store import backups
from agent.store.database import Database

log = structlog.get_logger("backup")
T = TypeVar("T")

_MOST_TOLD: Final = 8


class Keeper(Protocol):
    """One target, as `Backups` needs it: `agent.backup.copier.Copier`, which a terminal without targets never loads."""

    @property
    def target(self) -> str: ...
    async def make(self, kind: BackupKind) -> list[BackupItem]: ...
    async def verify(self, backup_id: str | None) -> tuple[int, list[BackupItem]]: ...
    async def item(self) -> TargetItem: ...


class Backups:
    """All targets together."""

    def __init__(self, keepers: Sequence[Keeper], database: Database) -> None:
        self._keepers = {keeper.target: keeper for keeper in keepers}
        self._database = database

    @property
    def targets(self) -> frozenset[str]:
        """Names of all places for backups that are configured."""
        return frozenset(self._keepers)

    async def make(self, kind: BackupKind, target: str | None) -> BackupResult:
        """Make a backup now at one target, or at all of them.

        Raises:
            TargetUnusable: None of them could be used.
            NotFound: No such target.
        """
        done, problems = await self._at(target, lambda keeper: keeper.make(kind))
        return BackupResult([item for items in done for item in items][-_MOST_TOLD:], problems)

    async def verify(self, backup_id: str | None) -> VerifyResult:
        """Read back what is stored, one file or all, and note what was found.

        Raises:
            TargetUnusable: None of the targets could be used.
            NotFound: No such backup.
        """
        target = None
        if backup_id is not None:
            known = await self._database.read(lambda db: backups.item(db, backup_id))
            if known is None:
                raise NotFound("no such backup", field="backup_id", hint="backup.list has all of them")
            target = known.target
        done, problems = await self._at(target, lambda keeper: keeper.verify(backup_id))
        wrong = [item for _right, items in done for item in items]
        return VerifyResult(sum(right for right, _wrong in done), wrong[:_MOST_TOLD], problems)

    async def page(self, limit: int, cursor: str | None, target: str | None = None) -> BackupPage:
        """Backups, of one target or of all, newest first, and how every target stands.

        Raises:
            BadRequest: ``cursor``.
        """
        items, next_cursor = await self._database.read(lambda db: backups.page(db, limit, cursor, target))
        return BackupPage(items, next_cursor, [await keeper.item() for keeper in self._keepers.values()])

    async def _at(self, target: str | None, act: Act[T]) -> tuple[list[T], list[TargetProblem]]:
        keepers = list(self._keepers.values())
        if target is not None:
            if target not in self._keepers:
                raise NotFound("no such place for backups", field="target", hint="see [backup] in the configuration")
            keepers = [self._keepers[target]]
        if not keepers:
            raise TargetUnusable("no place for backups is configured", hint="see [backup] in the configuration")
        outcomes = await asyncio.gather(*(act(keeper) for keeper in keepers), return_exceptions=True)
        done: list[T] = []
        problems: list[TargetProblem] = []
        for keeper, outcome in zip(keepers, outcomes, strict=True):
            if isinstance(outcome, TargetUnusable):
                problems.append(TargetProblem(keeper.target, outcome.message))
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                done.append(outcome)
        if not done:
            raise TargetUnusable("; ".join(f"{one.target}: {one.problem}" for one in problems), hint="see TXN-BKP-002")
        return done, problems


class Act(Protocol[T]):  # type: ignore[misc]  # T is only given back
    """What is done at each target."""

    def __call__(self, keeper: Keeper, /) -> Awaitable[T]: ...
