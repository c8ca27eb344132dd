"""An `Upload` over a real journal file, a clock moved by hand, and a network that does what the test decides.

The file is read and written in the test's own thread, so that one turn of the loop after another is all that happens.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from agent.contract.journal_upload import CollectorAck
from agent.contract.journal_views import EntryItem
from agent.contract.topics import TRANSACTIONS, Address
from agent.errors import AgentError, LinkDown
from agent.runtime.services import Pulse
from agent.store import marks, upload_rows
from agent.store.entry_rows import put_back
from agent.store.sqlite import Connection, connect_writer
from agent.store.transaction_list import TransactionFilters, entries
from agent.trust.collector_acks import believe_ack
from agent.trust.policy import load_policy
from agent.uplink.broker import Limits
from agent.uplink.link import Link
from agent.uplink.upload import Stream, Upload
from tests.kit.collector import collector_policy, signed_ack
from tests.kit.manual_clock import ManualClock
from tests.kit.store_records import open_journal, sale

T = TypeVar("T")
ADDRESS = Address("shop-1", "T-0001")
_TURNS = 25  # of the loop: everything that can happen without waiting has happened

COUNT = 400
"""Entries of the journal that the tests of the upload share."""


def make_journal(folder: Path, count: int) -> list[EntryItem]:
    """A journal of so many sales in ``folder``; its entries."""

    async def make() -> list[EntryItem]:
        async with open_journal(folder) as opened:
            for number in range(count):
                await opened.store(sale(stan=f"{number:06d}", memo="m" * (number * 7 % 200)))
            page = await opened.journal.list(TransactionFilters(), 1000)
            return list(page.items)

    return asyncio.run(make())


@dataclass
class Sent:
    """A message under way; ``answer`` is its PUBACK."""

    payload: bytes
    answer: asyncio.Future[int | None]

    @property
    def span(self) -> tuple[int, int]:
        batch = json.loads(self.payload)
        return batch["from_seq"], batch["entries"][-1]["seq"]


class Wire:
    """In place of a link: what was sent waits in ``sent``; PUBACK comes by itself unless ``puback`` is None."""

    def __init__(self) -> None:
        self.limits = Limits()
        self.sent: list[Sent] = []
        self.puback: int | None = 0
        self.refuses: AgentError | None = None
        self.lost = False

    async def send(self, topic: str, payload: bytes) -> asyncio.Future[int | None]:
        if self.lost:
            raise LinkDown("the test cut it")
        if self.refuses is not None:
            raise self.refuses
        assert topic == ADDRESS.topic(TRANSACTIONS)
        answer: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.sent.append(Sent(payload, answer))
        if self.puback is not None:
            answer.set_result(self.puback)
        return answer

    def spans(self) -> list[tuple[int, int]]:
        return [one.span for one in self.sent]


@dataclass
class UploadRoom:
    """``with`` is not needed: call `connect`, and `close` at the end."""

    db: Connection
    clock: ManualClock = field(default_factory=ManualClock)
    entries_per_s: float = 1e9
    wire: Wire = field(default_factory=Wire)
    refused: list[str] = field(default_factory=list)
    disputes: list[tuple[bool, str]] = field(default_factory=list)
    journals_told: int = 0
    outbox_is_empty: asyncio.Event = field(default_factory=asyncio.Event)
    store_fails: AgentError | None = None
    commits: int = 0

    def __post_init__(self) -> None:
        self.outbox_is_empty.set()
        policy = load_policy(collector_policy())
        self.upload = Upload(
            Stream(
                below=TRANSACTIONS,
                standing=lambda: self._ask(upload_rows.standing),
                piece=lambda after, most: self._ask(partial(upload_rows.piece_after, sequence=after, max_bytes=most)),
                held=lambda asked: self._ask(lambda db: [upload_rows.held_against(db, *one) for one in asked]),
                deliver=self._deliver,
            ),
            ADDRESS,
            self.clock,
            Pulse("upload", self.clock),
            entries_per_s=self.entries_per_s,
            believe=lambda payload, retained: believe_ack(
                policy, payload, retained=retained, terminal=ADDRESS.terminal, now=self.clock.now()
            ),
            refuse=self.refused.append,
            dispute=lambda active, detail: self.disputes.append((active, detail)),
            outbox_first=self.outbox_is_empty.wait,
            on_journal=self._on_journal,
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def window(self) -> Any:
        return self.upload._window

    @property
    def delivered(self) -> int:
        """The mark as stored."""
        return marks.marks(self.db).delivered

    async def connect(self) -> None:
        """A new link, in place of the one before."""
        await self.cut()
        self.wire = Wire()
        self._task = asyncio.create_task(self.upload.drain(cast("Link", self.wire)))
        await self.settle()

    async def cut(self) -> None:
        """The link is lost, as `Session` ends its parts then."""
        self.wire.lost = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            assert self._task.cancelled(), self._task.exception()
            self._task = None

    async def settle(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            assert self._task is None or not self._task.done(), self._task.exception()

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.settle()

    async def acknowledge(self, ack: dict[str, Any]) -> None:
        """A signed acknowledgement arrives."""
        self.upload.take(signed_ack(ack), False)
        await self.settle()

    async def says(self, upto: int, **changes: Any) -> None:
        """The collector agrees up to ``upto``, but for what is changed."""
        await self.acknowledge({**self.good_ack(upto), **changes})

    def good_ack(self, upto: int) -> dict[str, Any]:
        held = upload_rows.held_against(self.db, upto, None)
        return {
            "terminal": "T-0001",
            "journal_id": held.journal_id,
            "upto_seq": upto,
            "chain": held.chain[0] if held.chain else "0" * 64,
        }

    async def add(self, items: list[EntryItem]) -> None:
        """More entries are committed."""
        put_back(self.db, items)
        self.upload.wake()
        await self.settle()

    def close(self) -> None:
        self.db.close()

    async def _ask(self, query: Callable[[Connection], T]) -> T:
        if self.store_fails is not None:
            raise self.store_fails
        return query(self.db)

    async def _deliver(self, journal_id: str, upto: int) -> bool:
        self.commits += 1
        return await self._ask(partial(upload_rows.deliver, journal_id=journal_id, upto=upto))

    async def _on_journal(self) -> None:
        self.journals_told += 1


def open_copy(source: Path, folder: Path) -> Connection:
    """A writing connection to a copy of a closed journal's file."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "agent.db", folder / "agent.db")
    return connect_writer(folder / "agent.db")


def all_entries(db: Connection) -> list[EntryItem]:
    return list(entries(db, TransactionFilters(), 1000, None).items)


def ack_struct(ack: dict[str, Any]) -> CollectorAck:
    return CollectorAck(**ack)
