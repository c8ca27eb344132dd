"""What the control socket answers, as far as ``posctl`` shows it.

Unlike the structs of the agent's own doors these pass over fields they do not know, and most may be absent: the tool
must go on working beside an agent one release newer or older. What is there must have the right type.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Raw, Struct, field


class Terminal(Struct, frozen=True):
    site: str
    terminal: str
    serial: str | None = None
    model: str | None = None


class Uplink(Struct, frozen=True):
    configured: bool = False
    connected: bool = False
    since: datetime | None = None
    detail: str | None = None
    unsent: int | None = None  # messages that wait for the broker


class Journal(Struct, frozen=True):
    entries: int = 0
    last_sequence: int | None = None


class Config(Struct, frozen=True):
    digest: str | None = None


class AgentInfo(Struct, frozen=True):
    version: str
    terminal: Terminal
    mode: str | None = None
    journal_id: str | None = None
    started_at: datetime | None = None
    uptime_s: float | None = None
    uplink: Uplink = Uplink()
    journal: Journal = Journal()
    config: Config | None = None


class Device(Struct, frozen=True):
    device: str
    category: str = ""
    state: str = "unknown"
    power_state: str | None = None
    detail: str | None = None
    since: datetime | None = None
    at: datetime | None = None


class Fault(Struct, frozen=True):
    code: str
    device: str | None = None
    severity: str | None = None
    impact: str | None = None
    since: datetime | None = None
    detail: str | None = None


class Health(Struct, frozen=True):
    devices: list[Device]
    faults: list[Fault]
    at: datetime | None = None


class HealthChange(Struct, frozen=True):
    """One line of ``health.history``: of a ``kind`` with a state, the device was so from then on; else a fault."""

    device: str
    kind: str = "state"
    at: datetime | None = None
    state: str | None = None
    power_state: str | None = None
    code: str | None = None
    severity: str | None = None
    detail: str | None = None


class HealthHistory(Struct, frozen=True):
    items: list[HealthChange]
    next_cursor: str | None = None


class ReadinessReason(Struct, frozen=True):
    code: str
    text: str = ""
    since: datetime | None = None


class Readiness(Struct, frozen=True):
    ready: bool
    reasons: list[ReadinessReason] = field(default_factory=list)
    at: datetime | None = None


class Reason(Struct, frozen=True):
    code: str
    text: str | None = None


class Operation(Struct, frozen=True):
    """A command's state: always the whole of it."""

    command_id: str
    name: str
    state: str
    rev: int = 0
    step: str | int | None = None
    steps: int | list[str] | None = None
    progress: float | None = None
    reason: Reason | None = None
    accepted_at: datetime | None = None
    updated_at: datetime | None = None
    result: Raw = Raw(b"null")


class Entry(Struct, frozen=True):
    """One journal entry. ``record`` stays as received: its fields are the payment application's."""

    seq: int
    at: datetime
    record: dict[str, object]
    hash: str = ""
    mark: dict[str, object] | None = None


class OperationPage(Struct, frozen=True):
    items: list[Operation]
    next_cursor: str | None = None


class Total(Struct, frozen=True):
    """One line of ``transaction.summary``."""

    type: str
    count: int
    sum_minor: int | None = None
    provider: str | None = None
    mid: str | None = None
    tid: str | None = None
    batch_no: str | None = None
    currency: str | None = None


class StoreFigures(Struct, frozen=True):
    """Group ``store`` of ``metrics.get``, as far as it tells where the journal's entries have copies.

    ``backed_up_upto`` and ``delivered_upto``: every entry up to there is in a verified backup, and with the collector.
    """

    unprotected_entries: int | None = None
    oldest_unprotected_age_s: float | None = None
    backed_up_upto: int | None = None
    delivered_upto: int | None = None


NOTHING_TOLD = StoreFigures()


class Metrics(Struct, frozen=True):
    store: StoreFigures = NOTHING_TOLD


class Backup(Struct, frozen=True):
    """One file of one target."""

    backup_id: str
    kind: str = ""
    target: str = ""
    file: str = ""
    from_seq: int = 0
    upto_seq: int = 0
    size_bytes: int = 0
    made_at: datetime | None = None
    verified_at: datetime | None = None
    problem: str | None = None


class BackupTarget(Struct, frozen=True):
    """One place for backups, as of now."""

    name: str
    place: str = ""
    backed_up_upto: int = 0
    last_verified_at: datetime | None = None
    problem: str | None = None


class BackupPage(Struct, frozen=True):
    items: list[Backup]
    next_cursor: str | None = None
    targets: list[BackupTarget] = field(default_factory=list)


class BackupProblem(Struct, frozen=True):
    """Why nothing was done at one place."""

    target: str
    problem: str = ""


class BackupMade(Struct, frozen=True):
    """Result of an order ``backup``; ``files``: the last of what was made."""

    files: list[Backup]
    problems: list[BackupProblem] = field(default_factory=list)


class BackupsRead(Struct, frozen=True):
    """Result of an order ``verify_backup``: how many files are right, and some of the others."""

    right: int
    wrong: list[Backup]
    problems: list[BackupProblem] = field(default_factory=list)


class Verification(Struct, frozen=True):
    """``missing``: how many entries, or which, are not there."""

    intact: bool
    upto_sequence: int | None = None
    missing: Raw = Raw(b"null")
