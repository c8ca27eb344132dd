"""Around the journal: who sees that its entries get copies, that settlements agree with it, what leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog
from msgspec import Struct

from agent.config import Settings
from agent.contract.faults import CATALOGUE
from agent.contract.health import Fault
from agent.errors import StoreUnavailable
from agent.health.protection import ProtectionWatch, Report
from agent.runtime.clock import Clock
from agent.runtime.services import Service
from agent.selling.settlements import DIFFERS, SettlementWatch
from agent.store.database import Database
from agent.store.retention import Retention
from agent.store.transactions import CONFLICT, TransactionJournal
from agent.trust.clock_trust import clock_trust
from drivers.host.clock import read_kernel_clock

log = structlog.get_logger("boot")


class Keeping(Struct, frozen=True):
    """``figures``: for the metrics' group ``store``."""

    services: Sequence[Service]
    figures: Callable[[], Mapping[str, int | float]]


def build_keeping(
    settings: Settings, *, database: Database, clock: Clock, report: Report, faults: Callable[[], Sequence[Fault]]
) -> Keeping:
    """What watches over the journal.

    Args:
        faults: All that are active.
    """
    has_places = bool(settings.backup.folder or settings.backup.server)
    protection = ProtectionWatch(
        database,
        clock,
        report,
        fault_after_s=settings.journal.unprotected_fault_after_s,
        is_copied=has_places or (settings.uplink is not None and settings.upload.enabled),
        is_trusted=clock_trust(settings.clock.trust, read_kernel_clock),
    )
    settlements = SettlementWatch(
        database,
        clock,
        report,
        active=lambda: {one.device: one.detail for one in faults() if one.code == DIFFERS},
    )
    retention = Retention(database, clock, keep_days=settings.journal.keep_days, on_removed=settlements.wake)
    return Keeping([protection, settlements, retention], protection.figures)


async def recall_conflict(journal: TransactionJournal, faults: Sequence[Fault]) -> None:
    """After a start: alarm a contradiction that was stored when the process ended before it could be told."""
    if all(one.code != CONFLICT for one in faults):
        try:
            await journal.recall_conflict(CATALOGUE[CONFLICT].ages_out_s)
        except StoreUnavailable as err:  # a start does without it
            log.warning("conflict.not_recalled", code=err.code)
