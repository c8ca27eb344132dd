"""Health as it crosses a wire: a device's state, active faults, readiness. Also what a model file may set about it.

Published retained as ``dev/<device>/health``, ``agent/faults`` and ``agent/readiness``, and answered by ``health.get``
and ``readiness.get``. How states come about is the business of the room ``health``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

At = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", description="UTC with milliseconds")]
DeviceId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
FaultCode = Annotated[str, Meta(pattern=r"^[A-Z]{2,3}-[A-Z]{3}-\d{3}$")]


class State(StrEnum):
    """How a device is. ``UNKNOWN`` is no milder word for any of the others: nothing can be said."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"
    UNKNOWN = "unknown"


class PowerState(StrEnum):
    """UnifiedPOS power state. ``OFF``: no power or not attached. ``OFFLINE``: attached, but not answering or ready."""

    ONLINE = "online"
    OFF = "off"
    OFFLINE = "offline"
    OFF_OFFLINE = "off_offline"
    UNKNOWN = "unknown"


class Severity(StrEnum):
    """S1: cannot take payment, or security. S2: printing or one way to pay lost. S3: degraded. S4: information."""

    S1 = "S1"
    S2 = "S2"
    S3 = "S3"
    S4 = "S4"


class Impact(StrEnum):
    """What a fault stops. Only ``SALE`` makes the terminal not ready."""

    SALE = "sale"
    PRINT = "print"
    SETTLE = "settle"
    SECURITY = "security"
    NONE = "none"


class DeviceHealth(Struct, frozen=True, forbid_unknown_fields=True):
    """One device or one part of the board. ``since``: in this state; ``at``: last looked at."""

    device: DeviceId
    category: str
    state: State
    power_state: PowerState
    detail: str
    since: At
    at: At


class Fault(Struct, frozen=True, forbid_unknown_fields=True):
    """An active fault. ``device`` is a device's id, or a part of the agent (``uplink``, ``journal``)."""

    code: FaultCode
    device: DeviceId
    severity: Severity
    impact: Impact
    since: At
    detail: str


class FaultList(Struct, frozen=True, forbid_unknown_fields=True):
    """All active faults, the most severe first."""

    faults: tuple[Fault, ...]
    at: At


class ReadinessReason(Struct, frozen=True, forbid_unknown_fields=True):
    """Why the terminal cannot sell. ``code``: a fault's, ``DEVICE_STATE_UNKNOWN`` or ``TERMINAL_LOCKED``."""

    code: str
    text: str
    since: At


class Readiness(Struct, frozen=True, forbid_unknown_fields=True):
    """Can this terminal sell? ``reasons`` is empty exactly when it can."""

    ready: bool
    reasons: tuple[ReadinessReason, ...]
    at: At


class HealthSnapshot(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything at one moment."""

    devices: tuple[DeviceHealth, ...]
    faults: tuple[Fault, ...]
    readiness: Readiness
    at: At


class HistoryKind(StrEnum):
    """What happened: a device's state changed, a fault came, a fault went."""

    STATE = "state"
    FAULT_RAISED = "fault_raised"
    FAULT_CLEARED = "fault_cleared"


class HistoryEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One thing that happened. Of the kind ``state`` the fault's three fields are null, else the two of the state."""

    at: At
    kind: HistoryKind
    device: DeviceId
    state: State | None = None
    power_state: PowerState | None = None
    code: FaultCode | None = None
    severity: Severity | None = None
    impact: Impact | None = None
    detail: str


class HistoryPage(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the history, the newest first; ``next_cursor`` is null on the last page."""

    items: tuple[HistoryEntry, ...]
    next_cursor: str | None


class FaultEventData(Struct, frozen=True, forbid_unknown_fields=True):
    """``data`` of a fault event: the fault, whether it has come or gone, and what to do about it."""

    active: bool
    code: FaultCode
    device: DeviceId
    severity: Severity
    impact: Impact
    since: At
    detail: str
    text: str
    what_to_do: str


class FaultEvent(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """CloudEvents 1.0, published below ``agent/e/fault`` when a fault comes and when it goes."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: At
    datacontenttype: str = "application/json"
    data: FaultEventData


Percent = Annotated[float, Meta(ge=0, le=100)]


class Threshold(Struct, frozen=True, forbid_unknown_fields=True):
    """When a number becomes a fault, and when it stops being one.

    ``margin_pct`` is how far back on the good side it must come to clear; ``for_s`` how long it must stay on the other
    side before either happens.
    """

    degraded_pct: Percent
    failed_pct: Percent
    margin_pct: Annotated[float, Meta(gt=0, le=50)]
    for_s: Annotated[float, Meta(ge=0, le=86400)]


class TemperatureLimit(Struct, frozen=True, forbid_unknown_fields=True):
    """How near a sensor may come to the limit of its board, in °C; a smaller distance is worse.

    The limit is the sensor's own trip point (hot or critical, else passive); ``limit_c`` is for sensors that have none:
    left out, these are shown but not judged.
    """

    degraded_below_c: Annotated[float, Meta(ge=0, le=100)] = 10.0
    failed_below_c: Annotated[float, Meta(ge=0, le=100)] = 3.0
    margin_c: Annotated[float, Meta(gt=0, le=50)] = 3.0
    for_s: Annotated[float, Meta(ge=0, le=86400)] = 20.0
    limit_c: Annotated[float, Meta(gt=0, le=150)] | None = None


class Thresholds(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits for the board. A model file may replace each, whole. Lower is worse for ``…_available``, else higher."""

    memory_available: Threshold = Threshold(15.0, 7.0, 3.0, 20.0)
    storage_used: Threshold = Threshold(85.0, 95.0, 2.0, 20.0)
    inodes_used: Threshold = Threshold(85.0, 95.0, 2.0, 20.0)
    cpu_pressure: Threshold = Threshold(60.0, 90.0, 15.0, 60.0)  # "some" over 60 s
    memory_pressure: Threshold = Threshold(10.0, 30.0, 5.0, 60.0)  # "some" over 60 s
    io_pressure: Threshold = Threshold(50.0, 85.0, 15.0, 60.0)  # "some" over 60 s
    cpu_busy: Threshold = Threshold(95.0, 100.0, 10.0, 120.0)  # only where the kernel gives no pressure
    battery_available: Threshold = Threshold(20.0, 8.0, 5.0, 0.0)  # while nothing charges it
    flash_life_used: Threshold = Threshold(70.0, 100.0, 1.0, 0.0)  # at least, as the chip tells it in steps of ten
    temperature: TemperatureLimit = TemperatureLimit()
