"""A terminal as the broker sees it: a real session over a real store; the inbox behind it is the test's to shape."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from msgspec.structs import replace

from agent.contract.journal_upload import JournalOrigin
from agent.contract.publication import Publication
from agent.contract.topics import Address
from agent.runtime.backoff import Backoff
from agent.runtime.clock import SystemClock
from agent.runtime.services import Pulse
from agent.store import outbox
from agent.store.database import Database, Worth
from agent.store.outbox import Outbox
from agent.uplink.broker import Broker
from agent.uplink.gauges import Gauges
from agent.uplink.inbound import Inbound
from agent.uplink.messages import Identity
from agent.uplink.publisher import Publisher
from agent.uplink.session import Session
from tests.kit.broker import eventually

ADDRESS = Address("shop-1", "T-0001")
IDENTITY = Identity(
    serial="SN123",
    boot_id="b" * 36,
    journal_id="0192f6d0-7c1e-7000-8000-000000000001",
    origin=JournalOrigin(None, 0, "0" * 64),
    version="0.1.0",
    model="m1",
)
TRUTH = Publication("agent/readiness", b'{"ready":true}', retain=True)


@dataclass(frozen=True)
class Request:
    command: str
    payload: bytes
    retained: bool
    site_wide: bool


class Terminal:
    """``async with Terminal(tmp_path, host, port) as terminal:`` runs the session; ``stop`` and ``abandon`` end it."""

    def __init__(self, folder: Path, host: str, port: int, **broker: Any) -> None:
        self.clock = SystemClock()
        self.broker = replace(Broker(host, port, keepalive_s=60, connect_timeout_s=5.0), **broker)
        self.requests: list[Request] = []
        self.refused: list[str] = []
        self.links: list[tuple[bool, str]] = []
        self.on_request: Callable[[Request], Awaitable[None]] | None = None
        self.truth: Sequence[Publication] = [TRUTH]
        self.backoff = Backoff(0.05, 0.2)
        self.steady_s = 60.0
        self.database = Database(folder / "agent.db", self.clock)
        self.outbox = Outbox(self.database)
        self.pulses = [Pulse(name, self.clock) for name in ("uplink", "publisher")]
        self.publisher = Publisher(
            self.outbox,
            ADDRESS,
            self.clock,
            self.pulses[1],
            journal_id=IDENTITY.journal_id,
            refused_wait_s=0.05,
            set_aside_s=0.5,
        )
        self.gauges = Gauges(self.clock, interval_s=0.05)
        self.inbound = Inbound(
            ADDRESS, self._receive, self.refused.append, self.clock, self.pulses[0], retry=Backoff(0.02, 0.05)
        )
        self.start_counter = 1
        self.session: Session | None = None
        self._task: asyncio.Task[None] | None = None

    def topic(self, below: str) -> str:
        return ADDRESS.topic(below)

    def start(self) -> Session:
        """Begin to run; may be called again after `stop`, as a fresh start of the agent."""
        self.session = Session(
            self.broker,
            ADDRESS,
            IDENTITY,
            start_counter=self.start_counter,
            inbound=self.inbound,
            truth=self._truth,
            publisher=self.publisher,
            gauges=self.gauges,
            on_link=lambda connected, detail: self.links.append((connected, detail)),
            clock=self.clock,
            backoff=self.backoff,
            pulse=self.pulses[0],
            steady_s=self.steady_s,
        )
        self._task = asyncio.create_task(self.session.run())
        return self.session

    async def put(self, *publications: Publication) -> None:
        """Commit to the outbox, then wake the publisher, as the boot's wiring does."""
        now = self.clock.now()
        for publication in publications:
            await self.database.write(
                lambda db, one=publication: outbox.put(db, one, now),  # type: ignore[misc]
                worth=Worth.OUTBOX,
            )
        self.publisher.wake()

    async def connected(self, timeout_s: float = 15.0) -> None:
        await eventually(lambda: self.session is not None and self.session.state.connected, timeout_s, "a link")

    async def stop(self) -> None:
        """An orderly stop: cancellation, waited for. A failure of the session is raised here."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    @property
    def failed(self) -> bool:
        """The session ended by an error."""
        return self._task is not None and self._task.done()

    async def __aenter__(self) -> Terminal:
        self.database.open()
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        finally:
            await self.database.close()

    async def _receive(self, command: str, payload: bytes, retained: bool, site_wide: bool) -> None:
        request = Request(command, payload, retained, site_wide)
        if self.on_request is not None:
            await self.on_request(request)
        self.requests.append(request)

    async def _truth(self) -> Sequence[Publication]:
        return self.truth


def online(payload: bytes) -> bool:
    """What an ``agent/status`` says."""
    said: dict[str, Any] = msgspec.json.decode(payload)
    return bool(said["online"])


def conn(payload: bytes) -> int:
    said: dict[str, Any] = msgspec.json.decode(payload)
    return int(said["conn"])
