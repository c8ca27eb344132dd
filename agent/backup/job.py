"""What the daemon and its child for backups say to each other: one job in, one result out, each a line of JSON."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from agent.contract.backup_views import BackupKind

CHILD: Final = "agent.backup.child"
LARGEST_SEGMENT: Final = 10_000
"""Entries in one segment at most: a medium that comes back catches up in several."""


class FolderPlace(Struct, frozen=True, tag="folder"):
    """A folder on another medium. ``device``: what must be mounted there; None: the folder itself must exist."""

    name: str
    path: str
    device: str | None = None


class ServerPlace(Struct, frozen=True, tag="server"):
    """A server that takes files below ``url`` by PUT and gives them back by GET."""

    name: str
    url: str
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None


Place = FolderPlace | ServerPlace


class Origin(Struct, frozen=True):
    """Whose backup it is: what stands in every header beside the journal itself."""

    site: str
    terminal: str
    serial: str
    version: str


class Seal(Struct, frozen=True, tag="seal"):
    """Make one file.

    Attributes:
        database: Path of ``agent.db``, which is only read.
        after: Of a segment: it begins with the entry after this one.
        made_at: RFC 3339, by the daemon's clock.
        token: A name for the file in work that no other has.
    """

    database: str
    place: Place
    origin: Origin
    recipients: tuple[str, ...]
    kind: BackupKind
    after: int
    made_at: str
    token: str


class Verify(Struct, frozen=True, tag="verify"):
    """Read files back and compare.

    Attributes:
        backup_id: That one alone; None: all that the table names for this target, the newest first.
        before: Only those older than this one, to go on where a result says ``next``.
    """

    database: str
    place: Place
    origin: Origin
    backup_id: str | None = None
    before: str | None = None


class Tidy(Struct, frozen=True, tag="tidy"):
    """Remove what the rotation does not keep."""

    database: str
    place: Place
    origin: Origin
    keep_daily: int
    keep_weekly: int
    keep_monthly: int


Job = Seal | Verify | Tidy


class Sealed(Struct, frozen=True, tag="sealed"):
    """The file is there, durable, and was read back. ``chain``, ``sha256``: 64 hexadecimal digits."""

    file: str
    journal_id: str
    from_seq: int
    upto_seq: int
    chain: str
    size_bytes: int
    sha256: str


class Verified(Struct, frozen=True, tag="verified"):
    """``right``: ids of files as they were made; ``wrong``: id → what is wrong; ``next``: older ones are left."""

    right: list[str]
    wrong: dict[str, str]
    next: str | None = None


class Tidied(Struct, frozen=True, tag="tidied"):
    """``removed``: ids whose files are gone; ``is_all``: nothing is left that the rotation does not keep."""

    removed: list[str]
    is_all: bool = True


class Failed(Struct, frozen=True, tag="failed"):
    """Nothing was done that counts. ``code`` is stable; both texts are for people."""

    code: str
    problem: str
    hint: str


Result = Sealed | Verified | Tidied | Failed
