"""Backups as they are shown and ordered on the control socket: ``backup.list``, ``backup.run``, ``backup.verify``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

BackupKind = Literal["segment", "snapshot"]
BackupId = Annotated[str, Meta(pattern=r"\A[0-9a-f-]{36}\Z", description="as in backup.list")]
TargetName = Annotated[
    str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z", description="a name in [backup] of the configuration")
]


class BackupItem(Struct, frozen=True):
    """One backup file of one target.

    Attributes:
        file: Its name below the target.
        sha256: Of the encrypted file, 64 hexadecimal digits.
        verified_at: When its bytes were last read back from the target and were right; None: never, or not any more.
        problem: What the last look found wrong; None: nothing.
    """

    backup_id: str
    kind: BackupKind
    target: str
    file: str
    journal_id: str
    from_seq: int
    upto_seq: int
    size_bytes: int
    sha256: str
    made_at: str
    verified_at: str | None
    problem: str | None


class TargetItem(Struct, frozen=True):
    """One place for backups, as of now.

    Attributes:
        place: The folder or the address, as configured.
        backed_up_upto: Every entry up to this one is in a verified file there; 0: none.
        last_verified_at: When a snapshot there was last found right; None: never.
        problem: Why it cannot be used now; None: it can.
    """

    name: str
    place: str
    backed_up_upto: int
    last_verified_at: str | None
    problem: str | None


class BackupPage(Struct, frozen=True):
    """``items``: newest first; ``targets``: all of them, on every page."""

    items: list[BackupItem]
    next_cursor: str | None
    targets: list[TargetItem]


class TargetProblem(Struct, frozen=True):
    """Why nothing was done at one target."""

    target: str
    problem: str


class BackupResult(Struct, frozen=True):
    """Of an order ``backup``. ``files``: the last eight of what was made, in order; none where nothing was new."""

    files: list[BackupItem]
    problems: list[TargetProblem]


class VerifyResult(Struct, frozen=True):
    """Of an order ``verify_backup``: how many files are ``right``; ``wrong``: at most eight of the others."""

    right: int
    wrong: list[BackupItem]
    problems: list[TargetProblem]
