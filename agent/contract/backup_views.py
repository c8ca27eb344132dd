"""Backups as they are shown and ordered on the control socket: ``backup.list``, ``backup.run``, ``backup.verify``."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

BackupKind = Literal["segment", "snapshot"]


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
