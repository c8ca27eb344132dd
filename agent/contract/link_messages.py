"""What the uplink itself says, on the wire: status and Will, birth, readings, and what stands for the unsendable.

How connections are numbered and when these are published is in ``agent/uplink``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from agent.contract.journal_upload import JournalOrigin

Value = float | int | str | None
Connection = Annotated[int, Meta(ge=0, description="grows with every connection within one journal")]


class Status(Struct, frozen=True, forbid_unknown_fields=True):
    """``agent/status``. ``conn`` grows with every connection within one journal; an older one's word does not count."""

    online: bool
    conn: Connection
    boot_id: str
    journal_id: str
    at: str


class Binding(Struct, frozen=True, forbid_unknown_fields=True):
    """The payment side's names: provider, merchant number (DE 42), terminal number (DE 41)."""

    provider: str
    mid: str
    tid: str


class Birth(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``agent/birth``: identities, versions, what this terminal can be asked, and whose journal its own continues."""

    site: str
    terminal: str
    serial: str
    model: str | None
    bindings: tuple[Binding, ...]
    version: str
    versions: Mapping[str, str]
    capabilities: tuple[str, ...]
    commands: tuple[str, ...]
    schemas: Mapping[str, int]
    boot_id: str
    journal_id: str
    origin: JournalOrigin
    conn: Connection
    at: str


class Batch(Struct, frozen=True, forbid_unknown_fields=True):
    """``agent/m/<group>``: the latest readings, each with its unit in the name."""

    at: str
    values: Mapping[str, Value]


class UnsendableData(Struct, frozen=True, forbid_unknown_fields=True):
    """Which message was too large, and by how much."""

    topic: str
    size_bytes: int
    limit_bytes: int


class UnsendableEvent(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """CloudEvents 1.0 on ``agent/e/unsendable``: a message was too large and this stands in its place."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str = "pos-agent.unsendable"
    subject: str
    time: str
    datacontenttype: str = "application/json"
    data: UnsendableData
