"""What is concluded about health → messages and history. Pure; topics and words are those of the contract."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from agent.contract import topics
from agent.contract.faults import CATALOGUE
from agent.contract.health import (
    DeviceHealth,
    Fault,
    FaultEvent,
    FaultEventData,
    FaultList,
    HistoryEntry,
    HistoryKind,
    Readiness,
)
from agent.contract.publication import Publication
from agent.runtime.clock import rfc3339

RAISED, CLEARED = "pos-agent.fault.raised", "pos-agent.fault.cleared"


def stamp(at_ms: int) -> str:
    """Milliseconds since 1970 UTC as the contract writes times."""
    return rfc3339(datetime.fromtimestamp(at_ms / 1000, UTC))


def device_health(health: DeviceHealth) -> Publication:
    return Publication(topics.device_health(health.device), msgspec.json.encode(health), retain=True)


def device_gone(device: str) -> Publication:
    """The terminal has this device no more: takes the retained message away."""
    return Publication(topics.device_health(device), b"", retain=True)


def faults(active: tuple[Fault, ...], at: str) -> Publication:
    return Publication(topics.FAULTS, msgspec.json.encode(FaultList(active, at)), retain=True)


def readiness(value: Readiness) -> Publication:
    return Publication(topics.READINESS, msgspec.json.encode(value), retain=True)


def state_entry(health: DeviceHealth) -> HistoryEntry:
    """A change of state for the history, at the moment it was seen."""
    return HistoryEntry(
        at=health.at,
        kind=HistoryKind.STATE,
        device=health.device,
        state=health.state,
        power_state=health.power_state,
        detail=health.detail,
    )


def fault_entry(fault: Fault, *, active: bool, at: str) -> HistoryEntry:
    """A fault that came or went, for the history."""
    return HistoryEntry(
        at=at,
        kind=HistoryKind.FAULT_RAISED if active else HistoryKind.FAULT_CLEARED,
        device=fault.device,
        code=fault.code,
        severity=fault.severity,
        impact=fault.impact,
        detail=fault.detail,
    )


def fault_event(fault: Fault, *, active: bool, event_id: str, source: str, at: str) -> Publication:
    """A CloudEvent.

    Args:
        source: The terminal, as a URI reference: ``pos/v1/<site>/<terminal>``.
    """
    kind = CATALOGUE[fault.code]
    event = FaultEvent(
        id=event_id,
        source=source,
        type=RAISED if active else CLEARED,
        subject=fault.device,
        time=at,
        data=FaultEventData(
            active=active,
            code=fault.code,
            device=fault.device,
            severity=fault.severity,
            impact=fault.impact,
            since=fault.since,
            detail=fault.detail,
            text=kind.text,
            what_to_do=kind.what_to_do,
        ),
    )
    return Publication(topics.event("fault"), msgspec.json.encode(event))
