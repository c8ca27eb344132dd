"""The uplink: what is told of this terminal, to which broker, and what comes in from there.

The journal's way to the collector is wired in ``upload.py``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from agent.boot.upload import build_upload, origin_of
from agent.commands.security_log import BAD_SIGNATURE
from agent.config import Settings, Uplink
from agent.contract.journal_upload import JournalOrigin
from agent.contract.policy import Policy
from agent.contract.publication import Publication
from agent.contract.topics import TRANSACTIONS_ACK, Address
from agent.errors import StoreUnavailable
from agent.journal_settings import Upload as UploadSettings
from agent.local_api.about import Identity
from agent.runtime.backoff import Backoff
from agent.runtime.clock import Clock
from agent.runtime.services import Pulses
from agent.runtime.systemd import credential_or
from agent.store import journals
from agent.store.database import Database
from agent.store.outbox import Outbox
from agent.uplink import messages
from agent.uplink.broker import Broker
from agent.uplink.gauges import Gauges
from agent.uplink.inbound import Inbound
from agent.uplink.publisher import Publisher
from agent.uplink.session import Session

Receive = Callable[[str, bytes, bool, bool], Awaitable[None]]


def build_link(
    uplink: Uplink,
    upload: UploadSettings,
    *,
    address: Address,
    identity: messages.Identity,
    starts: int,
    database: Database,
    clock: Clock,
    pulses: Pulses,
    gauges: Gauges,
    receive: Receive,
    policy: Callable[[], Policy | None],
    report: Callable[[str, str, bool, str], None],
    note: Callable[[str, str], None],
    truth: Callable[[], Awaitable[Sequence[Publication]]],
    on_link: Callable[[bool, str], None],
) -> Session:
    """The session with the broker.

    Args:
        note: Told of messages that are no orders: the kind of event, and what was wrong.
    """
    publisher = Publisher(Outbox(database), address, clock, pulses.add("publisher"), journal_id=identity.journal_id)
    database.after_commit(publisher.wake)

    async def present(known: messages.Identity) -> messages.Identity:
        """A journal may be continued by another while this process lives."""
        try:
            journal = await database.read(journals.present)
        except StoreUnavailable:
            return known
        return replace(known, journal_id=journal.journal_id, origin=origin_of(journal))

    async def announce() -> None:
        await session.announce_again()

    uploads = {}
    if upload.enabled:
        uploads[TRANSACTIONS_ACK] = build_upload(
            upload,
            address=address,
            database=database,
            clock=clock,
            pulse=pulses.add("upload"),
            policy=policy,
            report=report,
            note=note,
            outbox_first=publisher.caught_up,
            announce=announce,
        )
    inbound = Inbound(
        address,
        receive,
        lambda kind: note(BAD_SIGNATURE, kind),
        clock,
        pulses.add("inbound"),
        acks={below: one.take for below, one in uploads.items()},
    )
    session = Session(
        _broker(uplink),
        address,
        identity,
        start_counter=starts,
        inbound=inbound,
        truth=truth,
        publisher=publisher,
        gauges=gauges,
        on_link=on_link,
        clock=clock,
        backoff=Backoff(uplink.backoff_first_s, uplink.backoff_limit_s),
        pulse=pulses.add("uplink"),
        uploads=tuple(uploads.values()),
        present=present,
    )
    return session


def birth_identity(
    settings: Settings,
    identity: Identity,
    *,
    origin: JournalOrigin,
    capabilities: frozenset[str],
    commands: tuple[str, ...],
) -> messages.Identity:
    """Who this terminal is towards the broker."""
    return messages.Identity(
        serial=identity.terminal.serial,
        boot_id=identity.boot_id,
        journal_id=identity.journal_id,
        origin=origin,
        version=identity.version,
        model=identity.terminal.model,
        capabilities=tuple(sorted(capabilities)),
        commands=commands,
        schemas={"command": 1, "transaction": 1},
        bindings=tuple((one.provider, one.mid, one.tid) for one in settings.binding),
    )


def _broker(uplink: Uplink) -> Broker:
    """Files that the configuration does not name are taken from systemd's credentials."""
    return Broker(
        uplink.host,
        uplink.port,
        protocol=uplink.protocol,
        tls=uplink.tls,
        ca_file=credential_or(uplink.ca_file, "broker-ca.pem"),
        certificate_file=credential_or(uplink.certificate_file, "broker-cert.pem"),
        key_file=credential_or(uplink.key_file, "broker-key.pem"),
        keepalive_s=uplink.keepalive_s,
    )
