"""The transaction journal's way to the collector: where it is read, whose word counts, who is told of a dispute."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from agent.commands.security_log import BAD_SIGNATURE
from agent.contract.journal_upload import CollectorAck, JournalOrigin
from agent.contract.policy import Policy
from agent.contract.topics import TRANSACTIONS, Address
from agent.journal_settings import Upload as UploadSettings
from agent.runtime.clock import Clock
from agent.runtime.services import Pulse
from agent.store import upload_rows as rows
from agent.store.database import Connection, Database, Worth
from agent.store.journals import Journal
from agent.trust.collector_acks import believe_ack
from agent.uplink.upload import Stream, Upload

CHAINS_DISAGREE = "SEC-AUD-001"
_PART = "collector"  # of the whole, as faults name it


def build_upload(
    settings: UploadSettings,
    *,
    address: Address,
    database: Database,
    clock: Clock,
    pulse: Pulse,
    policy: Callable[[], Policy | None],
    report: Callable[[str, str, bool, str], None],
    note: Callable[[str, str], None],
    outbox_first: Callable[[], Awaitable[None]],
    announce: Callable[[], Awaitable[None]],
) -> Upload:
    """The upload of transactions; it is woken by their commits.

    Args:
        report: Of faults: code, part, whether it holds, detail.
        note: Told of what is not authentic: the kind of event, and what was wrong.
        announce: Tells the broker again who this is.
    """

    def believe(payload: bytes, retained: bool) -> CollectorAck:
        return believe_ack(policy(), payload, retained=retained, terminal=address.terminal, now=clock.now())

    upload = Upload(
        _transactions(database),
        address,
        clock,
        pulse,
        entries_per_s=settings.entries_per_s,
        believe=believe,
        refuse=partial(note, BAD_SIGNATURE),
        dispute=partial(report, CHAINS_DISAGREE, _PART),
        outbox_first=outbox_first,
        on_journal=announce,
    )
    database.after_transactions(upload.wake)
    return upload


def origin_of(journal: Journal) -> JournalOrigin:
    """Whose journal it continues, for the birth message."""
    return JournalOrigin(journal.parent, journal.base.sequence, journal.base.hash.hex())


def _transactions(database: Database) -> Stream:
    def held(db: Connection, asked: list[tuple[int, int | None]]) -> list[rows.Held]:
        return [rows.held_against(db, *one) for one in asked]

    return Stream(
        below=TRANSACTIONS,
        standing=lambda: database.read(rows.standing),
        piece=lambda after, max_bytes: database.read(partial(rows.piece_after, sequence=after, max_bytes=max_bytes)),
        held=lambda asked: database.read(partial(held, asked=asked)),
        deliver=lambda journal_id, upto: database.write(
            partial(rows.deliver, journal_id=journal_id, upto=upto), worth=Worth.AUDIT
        ),
    )
