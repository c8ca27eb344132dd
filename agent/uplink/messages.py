"""What the uplink itself says: ``agent/status``, ``agent/birth``, batches of metrics. Pure: facts in, messages out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct, field

from agent.contract import topics
from agent.contract.journal_upload import JournalOrigin
from agent.contract.link_messages import Batch, Binding, Birth, Status, UnsendableData, UnsendableEvent, Value
from agent.contract.publication import HARD_LIMIT_BYTES, Publication

UNSENDABLE: Final = "unsendable"
_CONN_SHIFT: Final = 20


class Identity(Struct, frozen=True):
    """Who this terminal is, as its birth message tells; everything but the connection's own facts.

    Attributes:
        origin: Whose journal this one continues, and after which entry.
        version: Of the agent.
        versions: Of other parts, part → version.
        schemas: Kind of message → version of its form.
        bindings: The payment side's names, each with provider, mid and tid.
    """

    serial: str
    boot_id: str
    journal_id: str
    origin: JournalOrigin
    version: str
    model: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    schemas: Mapping[str, int] = field(default_factory=dict)
    bindings: tuple[tuple[str, str, str], ...] = ()


def connection_number(start_counter: int, attempt: int) -> int:
    """``conn``: how often the agent started within this journal × 2^20, plus the attempt since then."""
    return (start_counter << _CONN_SHIFT) + attempt


def status(identity: Identity, conn: int, at: str, *, online: bool) -> Publication:
    """The Will Message too: then ``at`` is when the connection was asked for, not when it broke."""
    payload = msgspec.json.encode(Status(online, conn, identity.boot_id, identity.journal_id, at))
    return Publication(topics.STATUS, payload, retain=True)


def says_offline(payload: bytes) -> bool:
    """Whether a received ``agent/status`` says offline; what is no status at all says nothing."""
    try:
        return not msgspec.json.decode(payload, type=Status).online
    except (ValueError, RecursionError):  # the broker may hold anything: no JSON, no UTF-8, a thousand brackets
        return False


def birth(identity: Identity, address: topics.Address, conn: int, at: str) -> Publication:
    said = Birth(
        site=address.site,
        terminal=address.terminal,
        serial=identity.serial,
        model=identity.model,
        bindings=tuple(Binding(*binding) for binding in identity.bindings),
        version=identity.version,
        versions=identity.versions,
        capabilities=identity.capabilities,
        commands=identity.commands,
        schemas=identity.schemas,
        boot_id=identity.boot_id,
        journal_id=identity.journal_id,
        origin=identity.origin,
        conn=conn,
        at=at,
    )
    return Publication(topics.BIRTH, msgspec.json.encode(said), retain=True)


def batch(group: str, values: Mapping[str, Value], at: str) -> Publication:
    return Publication(topics.metrics(group), msgspec.json.encode(Batch(at, values)), qos=0)


def unsendable(publication: Publication, event_id: str, source: str, at: str) -> Publication:
    """Goes out in place of a message beyond the hard limit.

    Args:
        event_id: The same at every repetition, so that the far side can tell it is one.
        source: ``pos/v1/<site>/<terminal>``.
    """
    event = UnsendableEvent(
        id=event_id,
        source=source,
        subject=publication.below,
        time=at,
        data=UnsendableData(publication.below, len(publication.payload), HARD_LIMIT_BYTES),
    )
    return Publication(topics.event(UNSENDABLE), msgspec.json.encode(event))
