"""Health in the store: one row a device, one a fault, written together with the messages about them. Plain SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from agent.contract.health import HistoryEntry
from agent.contract.publication import Publication
from agent.health import history
from agent.store import outbox
from agent.store.database import Connection


class DeviceRow(Struct, frozen=True):
    """``active``: rule → what it says. Times in milliseconds since 1970 UTC."""

    device: str
    category: str
    state: str
    power_state: str
    detail: str
    active: dict[str, str]
    since_ms: int
    at_ms: int


class FaultRow(Struct, frozen=True):
    """``reported``: found by another room, not concluded from a sample."""

    code: str
    device: str
    impact: str
    detail: str
    since_ms: int
    reported: bool
    until_ms: int | None


class Change(Struct, frozen=True):
    """What one commit makes true: these devices, these faults and no others, the messages and history of it."""

    devices: Sequence[DeviceRow]
    gone: Sequence[str]
    faults: Sequence[FaultRow]
    publications: Sequence[Publication]
    at: datetime
    history: Sequence[HistoryEntry] = ()


def write(db: Connection, change: Change) -> None:
    """Inside a transaction; a repeat is harmless."""
    db.executemany("DELETE FROM health_state WHERE device = ?", [(device,) for device in change.gone])
    db.executemany(
        "INSERT OR REPLACE INTO health_state (device, category, state, power_state, detail, active, since, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(row.device, row.category, row.state, row.power_state, row.detail),
                *(msgspec.json.encode(row.active).decode(), row.since_ms, row.at_ms),
            )
            for row in change.devices
        ],
    )
    db.execute("DELETE FROM health_faults")
    db.executemany(
        "INSERT INTO health_faults (code, device, impact, detail, since, reported, until) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (row.code, row.device, row.impact, row.detail, row.since_ms, int(row.reported), row.until_ms)
            for row in change.faults
        ],
    )
    history.append(db, change.history)
    for publication in change.publications:
        outbox.put(db, publication, change.at)


def read(db: Connection) -> tuple[list[DeviceRow], list[FaultRow]]:
    """Everything stored."""
    devices = [
        DeviceRow(device, category, state, power, detail, msgspec.json.decode(active, type=dict[str, str]), since, at)
        for device, category, state, power, detail, active, since, at in db.execute(
            "SELECT device, category, state, power_state, detail, active, since, at FROM health_state ORDER BY device"
        )
    ]
    faults = [
        FaultRow(code, device, impact, detail, since, bool(reported), until)
        for code, device, impact, detail, since, reported, until in db.execute(
            "SELECT code, device, impact, detail, since, reported, until FROM health_faults"
        )
    ]
    return devices, faults
