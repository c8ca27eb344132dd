"""Backups: a copier for each place that is configured, and the watch over all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

import agent
from agent.backup.copies import Backups
from agent.config import Settings
from agent.contract.health import Fault
from agent.runtime.backoff import Backoff
from agent.runtime.clock import Clock
from agent.runtime.services import Service
from agent.store.database import Database

FIRST_RETRY_S, LAST_RETRY_S = 2.0, 300.0
CHILDREN_AT_A_TIME = 2  # one that hangs on a dead medium leaves room for another

Report = Callable[[str, str, bool, str], None]


class Copies(Struct, frozen=True):
    """``parts``: services to run; none where no place for backups is configured."""

    backups: Backups
    parts: tuple[Service, ...]


def build_copies(
    settings: Settings, *, database: Database, clock: Clock, clock_trusted: Callable[[], bool], report: Report
) -> Copies:
    """Everything that copies the journal to other media."""
    backup, terminal = settings.backup, settings.terminal
    if not (backup.folder or backup.server):
        return Copies(Backups((), database), ())
    from agent.backup.copier import Copier, Shared  # noqa: PLC0415  # where nothing is copied, nothing is loaded
    from agent.backup.due import Schedule  # noqa: PLC0415
    from agent.backup.freshness import Freshness  # noqa: PLC0415
    from agent.backup.job import FolderPlace, Origin, Place, ServerPlace  # noqa: PLC0415

    freshness = Freshness(
        database, clock, fault_after_s=backup.fault_after_s, clock_trusted=clock_trusted, report=report
    )
    places: list[Place] = [
        *(FolderPlace(one.name, one.path, one.device) for one in backup.folder),
        *(ServerPlace(one.name, one.url, one.ca_file, one.certificate_file, one.key_file) for one in backup.server),
    ]
    shared = Shared(
        database=database,
        path=str(Path(settings.paths.state).absolute() / "agent.db"),
        origin=Origin(terminal.site, terminal.terminal, terminal.serial, agent.__version__),
        recipients=backup.recipients,
        schedule=Schedule(
            backup.segment_entries,
            backup.segment_after_s,
            backup.snapshot_every_s,
            backup.keep_daily,
            backup.keep_weekly,
            backup.keep_monthly,
        ),
        targets=tuple(place.name for place in places),
        clock=clock,
        children=asyncio.Semaphore(CHILDREN_AT_A_TIME),
        report=report,
        on_snapshot=freshness.look,
    )
    copiers = tuple(Copier(place, shared, Backoff(FIRST_RETRY_S, LAST_RETRY_S)) for place in places)
    for copier in copiers:
        database.after_transactions(copier.wake)
    return Copies(Backups(copiers, database), (*copiers, freshness))


def end_faults_of_former_targets(backups: Backups, faults: tuple[Fault, ...], report: Report) -> None:
    """What the process before this one said of places that this configuration does not have any more is over."""
    for fault in faults:
        former = fault.code == "TXN-BKP-002" and fault.device not in backups.targets
        if former or (fault.code == "TXN-BKP-001" and not backups.targets):
            report(fault.code, fault.device, False, "it is not configured any more")
