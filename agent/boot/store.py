"""The store: opened with its reserve, watched for damage and for a full disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agent.config import Settings
from agent.runtime.clock import Clock
from agent.store.database import Database
from agent.store.soundness import Soundness

Report = Callable[[str, str, bool, str], None]


def make_store(settings: Settings, clock: Clock) -> Database:
    """The database of this terminal, not opened yet."""
    reserve_bytes = settings.journal.reserve_mib * 1024 * 1024
    return Database(Path(settings.paths.state) / "agent.db", clock, reserve_bytes=reserve_bytes)


def watch_store(database: Database, clock: Clock, report: Report) -> Soundness:
    """Have what befalls the store told to people; the service looks for damage."""
    database.on_trouble(lambda bad, why: report("TXN-JRN-001", "journal", bad, why))
    database.on_scarce(lambda scarce: report("HST-STO-001", "journal", scarce, _scarce_words(scarce=scarce)))
    return Soundness(database, clock, report)


def _scarce_words(*, scarce: bool) -> str:
    if not scarce:
        return "the disk has room again"
    return "the disk is full: records live on the reserve, events and audit wait; then records are refused"
