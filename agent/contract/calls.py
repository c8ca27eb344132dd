"""What the sockets' methods take and give about sales, applications, events and single devices.

Source: the product's contract, "Sockets" and "Leases". Those about records, lists and orders stand in ``rpc.py``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from agent.contract.backup_views import BackupId, BackupKind, TargetName
from agent.contract.command import CommandId, WhyText
from agent.contract.health import At, DeviceId, ReadinessReason

LONGEST_LEASE_S: Final = 180

LeaseSeconds = Annotated[int, Meta(ge=1, le=LONGEST_LEASE_S)]
LeaseId = Annotated[str, Meta(max_length=64, description="as it was given; any other is unknown")]


class Purpose(StrEnum):
    """What a lease is for. A locked terminal refuses ``SALE`` alone: money already moved must come to its end."""

    SALE = "sale"
    REVERSAL = "reversal"
    SETTLEMENT = "settlement"


class EventKind(StrEnum):
    """What a peer can be told of as it happens."""

    LOCK = "lock"
    OPERATION = "operation"
    HEALTH = "health"
    READINESS = "readiness"


# ── sales ──────────────────────────────────────────────────────────────────────────────────────────────────────
class SaleBeginParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``sale.begin``: for so long, from now, this process is in the middle of something that must not be disturbed."""

    lease_s: LeaseSeconds
    purpose: Purpose


class SaleRenewParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``sale.renew``: it ends ``lease_s`` from now."""

    lease_id: LeaseId
    lease_s: LeaseSeconds


class SaleEndParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``sale.end``."""

    lease_id: LeaseId


class LeaseResult(Struct, frozen=True, forbid_unknown_fields=True):
    """``sale.begin`` and ``sale.renew``."""

    lease_id: str
    expires_in_s: int


# ── the terminal's state ───────────────────────────────────────────────────────────────────────────────────────
class RunningOperation(Struct, frozen=True, forbid_unknown_fields=True):
    """An exclusive operation that has begun: ``sale.begin`` is refused until it ends."""

    command_id: str
    name: str
    retry_after_s: float


class TerminalState(Struct, frozen=True, forbid_unknown_fields=True):
    """``terminal.state``: ``reasons`` is empty exactly when the terminal is ready to sell."""

    locked: bool
    lock_reason: str | None
    operation: RunningOperation | None
    ready: bool
    reasons: tuple[ReadinessReason, ...]


# ── events ─────────────────────────────────────────────────────────────────────────────────────────────────────
class EventsSubscribeParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``events.subscribe``: these kinds from now on, in place of those before; none ends it."""

    kinds: Annotated[list[EventKind], Meta(max_length=16)]


class EventParams(Struct, frozen=True, forbid_unknown_fields=True):
    """A notification ``event``. ``data`` by kind: `LockData`, `CommandState`, `DeviceHealth`, `Readiness`."""

    kind: EventKind
    at: At
    data: Any


class LockData(Struct, frozen=True, forbid_unknown_fields=True):
    """``data`` of an event of kind ``lock``."""

    locked: bool
    reason: str | None


# ── orders for one thing ───────────────────────────────────────────────────────────────────────────────────────
class HealthCheckParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``health.check``: an order ``check_device`` with an id of the agent's own making."""

    device: DeviceId
    level: Literal["internal", "external"]


class CommandCancelParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``command.cancel``: an order ``cancel`` with an id of the agent's own making, for the order ``command_id``."""

    command_id: CommandId


class BackupRunParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``backup.run``: an order ``backup``; without ``command_id`` its id is of the agent's own making."""

    kind: BackupKind
    target: TargetName | None = None
    command_id: CommandId | None = None
    reason: WhyText | None = None


class BackupVerifyParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``backup.verify``: an order ``verify_backup``, without ``backup_id`` for every file; ``command_id`` as above."""

    backup_id: BackupId | None = None
    command_id: CommandId | None = None
    reason: WhyText | None = None
