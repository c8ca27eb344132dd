"""What the configuration says about the journal and its copies: ``[journal]``, ``[backup]``, ``[upload]``.

For ``config.py``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct

from agent.model_file import Id

TARGETS_LIMIT = 8

AbsolutePath = Annotated[str, Meta(pattern=r"^/[^\x00-\x1f]{0,4000}\Z")]
Recipient = Annotated[str, Meta(pattern=r"^age1[a-z0-9]{20,4000}\Z")]
Url = Annotated[
    str, Meta(pattern=r"^https://([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,60}\])(:[0-9]{1,5})?(/[!\"$->@-~]{0,700})?\Z")
]
"""Host, port and path alone: no name and password, which would be shown wherever the place is, no query."""
Seconds = Annotated[float, Meta(gt=0, le=86400 * 366)]
Days = Annotated[int, Meta(ge=0, le=36500)]


class Journal(Struct, frozen=True, forbid_unknown_fields=True):
    """``[journal]``."""

    keep_days: Annotated[int, Meta(ge=1, le=36500)] = 400
    reserve_mib: Annotated[int, Meta(ge=0, le=4096)] = 48
    unprotected_fault_after_s: Seconds = 3600.0


class Folder(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[backup.folder]]``: on another medium. ``device``: what must be mounted there."""

    name: Id
    path: AbsolutePath
    device: AbsolutePath | None = None


class Server(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[backup.server]]``: files are put below ``url`` and read back."""

    name: Id
    url: Url
    ca_file: AbsolutePath | None = None
    certificate_file: AbsolutePath | None = None
    key_file: AbsolutePath | None = None


class Backup(Struct, frozen=True, forbid_unknown_fields=True):
    """``[backup]``."""

    recipients: tuple[Recipient, ...] = ()
    folder: tuple[Folder, ...] = ()
    server: tuple[Server, ...] = ()
    segment_entries: Annotated[int, Meta(ge=1, le=10_000)] = 100
    segment_after_s: Annotated[float, Meta(ge=1, le=3600)] = 60.0
    snapshot_every_s: Annotated[float, Meta(ge=60, le=86400 * 7)] = 86400.0
    keep_daily: Annotated[int, Meta(ge=1, le=1000)] = 7
    keep_weekly: Annotated[int, Meta(ge=0, le=1000)] = 4
    keep_monthly: Annotated[int, Meta(ge=0, le=1000)] = 12
    fault_after_s: Seconds = 7 * 86400.0


class Upload(Struct, frozen=True, forbid_unknown_fields=True):
    """``[upload]``."""

    enabled: bool = True
    entries_per_s: Annotated[float, Meta(ge=1, le=100_000)] = 500.0


def backup_problems(backup: Backup) -> Iterator[tuple[str, str]]:
    """What single keys cannot show, as (key, text)."""
    targets: list[Folder | Server] = [*backup.folder, *backup.server]
    if targets and not backup.recipients:
        yield "backup.recipients", "is missing: without the operator's public age keys nothing can be encrypted"
    if len(targets) > TARGETS_LIMIT:
        yield "backup", f"there are {len(targets)} folders and servers; at most {TARGETS_LIMIT}"
    names = [one.name for one in targets]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "backup", f"the name {name} stands twice: orders and lists name a target by it"
    paths = [posixpath.normpath(one.path) for one in backup.folder]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        yield "backup.folder", f"the path {path} stands twice: two places in one folder disturb each other"
    for index, one in enumerate(backup.server):
        _host, _, port = one.url.removeprefix("https://").partition("/")[0].rpartition(":")
        if port.isdigit() and not 0 < int(port) < 65536:
            yield f"backup.server[{index}].url", f"{port} is no port"
        if (one.certificate_file is None) != (one.key_file is None):
            where = f"backup.server[{index}].certificate_file"
            yield where, "certificate_file and key_file belong together; give both or none"
