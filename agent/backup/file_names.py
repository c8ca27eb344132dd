"""Where a backup stands below its target, and what its name says. Pure.

``<site>/<terminal>/<journal_id>/`` holds ``segment-<from>-<upto>-<sha256>.age`` and
``snapshot-<from>-<upto>-<time>-<sha256>.age``: sequences with 12 digits, so that names sort as the journal goes, and
the first 8 digits of the encrypted file's SHA-256.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, cast

from msgspec import Struct

from agent.contract.backup_views import BackupKind

_NAME: Final = re.compile(
    r"(?:segment-([0-9]{12,19})-([0-9]{12,19})|snapshot-([0-9]{12,19})-([0-9]{12,19})-([0-9]{8}T[0-9]{6}Z))"
    r"-([0-9a-f]{8})\.age"
)
_TIME: Final = "%Y%m%dT%H%M%SZ"
_LARGEST: Final = 2**62
"""The largest sequence that the format's lines can have; no store can be asked about a larger one."""
_IN_WORK: Final = re.compile(r"\.[a-z0-9.-]{1,200}\.part")


class FileName(Struct, frozen=True):
    """What a name says. ``made_at``: of a snapshot, in UTC; None for a segment. ``digest``: 8 hexadecimal digits."""

    kind: BackupKind
    from_seq: int
    upto_seq: int
    made_at: datetime | None
    digest: str


def folder_of(site: str, terminal: str, journal_id: str) -> str:
    """The folder of one journal below the target."""
    return f"{site}/{terminal}/{journal_id}"


def file_name(kind: BackupKind, from_seq: int, upto_seq: int, made_at: datetime, sha256: str) -> str:
    """The name within that folder.

    Args:
        made_at: With an offset; not part of a segment's name.
        sha256: Of the encrypted file, 64 hexadecimal digits.
    """
    time = f"-{made_at.astimezone(UTC).strftime(_TIME)}" if kind == "snapshot" else ""
    return f"{kind}-{from_seq:012d}-{upto_seq:012d}{time}-{sha256[:8]}.age"


def parse_name(name: str) -> FileName | None:
    """What a name within a journal's folder says; None for a file that is no backup of ours."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    first, last = int(match[1] or match[3]), int(match[2] or match[4])
    if max(first, last) > _LARGEST:
        return None
    try:
        made_at = datetime.strptime(match[5], _TIME).replace(tzinfo=UTC) if match[5] else None
    except ValueError:
        return None
    return FileName(cast("BackupKind", name.partition("-")[0]), first, last, made_at, match[6])


def name_in_work(kind: BackupKind, token: str) -> str:
    """The name of a file that is being written; one that is left over counts for nothing and may be removed."""
    return f".{kind}-{token}.part"


def is_in_work(name: str) -> bool:
    """True for what `name_in_work` gives."""
    return _IN_WORK.fullmatch(name) is not None
