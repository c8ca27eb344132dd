"""One target kept up to date: a segment when enough entries are new or the oldest has waited, a snapshot every day.

Due by events, not by looking round: commits of records wake it, and otherwise it sleeps until something is due. The
work is a child's (``child.py``); here it is written down what counts, in one commit with the mark that says which
entries are protected. A target that fails is tried again with growing pauses, and at once when somebody orders it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
import structlog
from msgspec import Struct

from agent.backup.due import Due, Schedule, due, first_snapshot_in_s
from agent.backup.job import (
    CHILD,
    Failed,
    FolderPlace,
    Job,
    Origin,
    Place,
    Result,
    Seal,
    Sealed,
    Tidied,
    Tidy,
    Verified,
    Verify,
)
from agent.contract.backup_views import BackupItem, BackupKind, TargetItem
from agent.errors import ChildFailed, StoreFull, StoreUnavailable, TargetUnusable
from agent.runtime.backoff import Backoff
from agent.runtime.child_process import run_child
from agent.runtime.clock import Clock, rfc3339
from agent.runtime.identifiers import uuid7
from agent.store import backups
from agent.store.backups import NewBackup, Standing
from agent.store.database import Connection, Database, Worth

log = structlog.get_logger("backup")
T = TypeVar("T")

UNUSABLE: Final = "TXN-BKP-002"
_GATHER_S: Final = 0.5
_STORE_RETRY_S: Final = 5.0
_DEADLINE_S: Final = 600.0
_DEADLINE_PER_ENTRY_S: Final = 0.003
_NOTHING_NEW: Final = "NOTHING_NEW"


class Shared(Struct, frozen=True):
    """What all targets of a terminal have in common.

    Attributes:
        path: Of the database, for the child.
        targets: Names of all of them.
        children: Allows so many children at a time.
        report: Told of a fault, or its end: code, device, active, detail.
        on_snapshot: Called when a snapshot was found right.
    """

    database: Database
    path: str
    origin: Origin
    recipients: tuple[str, ...]
    schedule: Schedule
    targets: tuple[str, ...]
    clock: Clock
    children: asyncio.Semaphore
    report: Callable[[str, str, bool, str], None]
    on_snapshot: Callable[[], None]


class Copier:
    """A service."""

    def __init__(self, place: Place, shared: Shared, backoff: Backoff) -> None:
        self.target = place.name
        self.name = f"backup {place.name}"
        self._place = place
        self._shared = shared
        self._backoff = backoff
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._problem: str | None = None
        self._told: bool | None = None
        self._waiting_since: float | None = None  # monotonic, as the two below
        self._snapshot_due: float | None = None
        self._retry_at = 0.0

    def wake(self) -> None:
        """There are new entries."""
        self._changed.set()

    async def run(self) -> None:
        """Copy until cancelled."""
        while True:
            try:
                wait_s = await self._do_what_is_due()
            except (StoreFull, StoreUnavailable) as err:
                log.warning("backup.waits_for_store", target=self.target, code=err.code)
                wait_s = _STORE_RETRY_S
            await self._wait(wait_s)

    async def make(self, kind: BackupKind) -> list[BackupItem]:
        """Make one now: a snapshot, or segments of everything that is new.

        Raises:
            TargetUnusable: Nothing more could be made; what was made before counts.
        """
        async with self._lock:
            items: list[BackupItem] = []
            upto = (await self._standing()).last_entry
            while True:
                standing = await self._standing()
                if kind == "segment" and standing.covered_upto >= upto:
                    break
                item = await self._make(kind, standing)
                items += [item] if item is not None else []
                if kind == "snapshot" or item is None:
                    break
        self._changed.set()
        return items

    async def verify(self, backup_id: str | None) -> tuple[int, list[BackupItem]]:
        """Read back one file or all; how many are right, and the others.

        Raises:
            TargetUnusable: The target could not be read.
        """
        right, wrong, before = 0, list[BackupItem](), None
        while True:
            async with self._lock:  # and not for all of it: what is new meanwhile is to be copied
                result, found = await self._verify(backup_id, before)
            right += len(result.right)
            wrong += found
            before = result.next
            self._changed.set()
            if before is None:
                break
        self._shared.on_snapshot()
        return right, wrong

    async def _verify(self, backup_id: str | None, before: str | None) -> tuple[Verified, list[BackupItem]]:
        job = Verify(self._shared.path, self._place, self._shared.origin, backup_id, before)
        result = await self._work(job, 6 * _DEADLINE_S)
        if not isinstance(result, Verified):
            raise self._failed(result)
        at_ms, targets = self._now_ms(), self._shared.targets

        def note(db: Connection) -> list[BackupItem | None]:
            backups.note_verified(db, result.right, list(result.wrong.items()), at_ms, targets)
            return [backups.item(db, one) for one in result.wrong]

        noted = await self._until_stored(lambda: self._shared.database.write(note, worth=Worth.RUN))
        wrong = [one for one in noted if one is not None]
        for one in wrong:
            log.error("backup.wrong", target=self.target, file=one.file, problem=one.problem)
        self._worked()
        return result, wrong

    async def item(self) -> TargetItem:
        """How this target stands."""
        standing = await self._standing()
        place = self._place.path if isinstance(self._place, FolderPlace) else self._place.url
        return TargetItem(
            self.target,
            place,
            standing.covered_upto,
            backups.shown_time(standing.snapshot_verified_at_ms),
            self._problem,
        )

    async def _do_what_is_due(self) -> float:
        """Make what is due; returns for how long nothing else will be."""
        async with self._lock:
            while True:
                standing = await self._standing()
                now = self._shared.clock.monotonic()
                if now < self._retry_at:
                    return self._retry_at - now
                what = self._due(standing, now)
                if what.kind is None:
                    return what.wait_s
                try:
                    await self._make(what.kind, standing)
                except TargetUnusable:
                    self._retry_at = self._shared.clock.monotonic() + self._backoff.next_s()

    def _due(self, standing: Standing, now: float) -> Due:
        schedule = self._shared.schedule
        if self._snapshot_due is None:
            self._snapshot_due = now + first_snapshot_in_s(schedule, standing, self._now_ms())
        if standing.last_entry <= standing.covered_upto:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        waited_s = now - self._waiting_since if self._waiting_since is not None else 0.0
        return due(schedule, standing, snapshot_in_s=self._snapshot_due - now, waited_s=waited_s)

    async def _make(self, kind: BackupKind, standing: Standing) -> BackupItem | None:
        """One file, and the row that makes it count; None when there was nothing new.

        Raises:
            TargetUnusable: As reported.
        """
        backup_id = uuid7()
        made_at = self._shared.clock.now()
        job = Seal(
            database=self._shared.path,
            place=self._place,
            origin=self._shared.origin,
            recipients=self._shared.recipients,
            kind=kind,
            after=standing.covered_upto,
            made_at=rfc3339(made_at),
            token=backup_id,
        )
        new = standing.last_entry if kind == "snapshot" else standing.last_entry - standing.covered_upto
        result = await self._work(job, _DEADLINE_S + new * _DEADLINE_PER_ENTRY_S)
        if isinstance(result, Failed) and result.code == _NOTHING_NEW:
            return None
        if not isinstance(result, Sealed):
            raise self._failed(result)
        row = NewBackup(
            backup_id,
            kind,
            self.target,
            result.file,
            result.journal_id,
            result.from_seq,
            result.upto_seq,
            bytes.fromhex(result.chain),
            result.size_bytes,
            bytes.fromhex(result.sha256),
            round(made_at.timestamp() * 1000),
            self._now_ms(),
        )
        targets = self._shared.targets

        def count(db: Connection) -> BackupItem | None:
            backups.add(db, row, targets)
            return backups.item(db, backup_id)

        item = await self._until_stored(lambda: self._shared.database.write(count, worth=Worth.RUN))
        log.info("backup.made", target=self.target, kind=kind, file=result.file, size_bytes=result.size_bytes)
        self._worked()
        self._waiting_since = None
        if kind == "snapshot":
            self._snapshot_due = self._shared.clock.monotonic() + self._shared.schedule.snapshot_every_s
            self._shared.on_snapshot()
            await self._tidy()
        return item

    async def _tidy(self) -> None:
        """Let the rotation remove files; that it could not is no reason to distrust what was just made."""
        schedule = self._shared.schedule
        kept = (schedule.keep_daily, schedule.keep_weekly, schedule.keep_monthly)
        while True:
            result = await self._work(Tidy(self._shared.path, self._place, self._shared.origin, *kept), _DEADLINE_S)
            if not isinstance(result, Tidied):
                problem = result.problem if isinstance(result, Failed) else ""
                log.warning("backup.not_tidied", target=self.target, problem=problem)
                return
            if result.removed:
                await self._forget(result.removed)
            if result.is_all or not result.removed:
                return

    async def _forget(self, removed: list[str]) -> None:
        targets = self._shared.targets
        await self._until_stored(
            lambda: self._shared.database.write(lambda db: backups.forget(db, removed, targets), worth=Worth.RUN)
        )
        log.info("backup.tidied", target=self.target, removed=len(removed))

    async def _work(self, job: Job, deadline_s: float) -> Result:
        async with self._shared.children:
            try:
                line = await run_child(CHILD, msgspec.json.encode(job), deadline_s=deadline_s)
            except ChildFailed as err:
                return Failed(err.code, err.message, err.hint or "see the log")
        result: Result = msgspec.json.decode(line, type=Result)
        return result

    def _failed(self, result: Result) -> TargetUnusable:
        problem = result if isinstance(result, Failed) else Failed("CHILD_FAILED", "another answer was expected", "")
        self._problem = problem.problem
        log.warning("backup.failed", target=self.target, code=problem.code, problem=problem.problem)
        if self._told is not True:
            self._told = True
            self._shared.report(UNUSABLE, self.target, True, f"{problem.problem}: {problem.hint}")
        return TargetUnusable(problem.problem, hint=problem.hint)

    def _worked(self) -> None:
        self._problem = None
        self._retry_at = 0.0
        self._backoff.reset()
        if self._told is not False:
            self._told = False
            self._shared.report(UNUSABLE, self.target, False, "it works")

    async def _standing(self) -> Standing:
        return await self._shared.database.read(lambda db: backups.standing(db, self.target))

    async def _until_stored(self, write: Callable[[], Awaitable[T]]) -> T:
        """A file that is there must count: making it again would only fill the medium."""
        while True:
            try:
                return await write()
            except (StoreFull, StoreUnavailable) as err:
                log.warning("backup.waits_for_store", target=self.target, code=err.code)
                await self._shared.clock.sleep(_STORE_RETRY_S)

    async def _wait(self, wait_s: float) -> None:
        """Until something may be due. Entries that come together are looked at together."""
        try:
            async with asyncio.timeout(wait_s):
                await self._changed.wait()
        except TimeoutError:
            return
        await self._shared.clock.sleep(_GATHER_S)
        self._changed.clear()

    def _now_ms(self) -> int:
        return round(self._shared.clock.now().timestamp() * 1000)
