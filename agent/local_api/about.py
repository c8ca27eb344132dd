"""``agent.info`` and ``metrics.get``: who this agent is, since when, and how its parts do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from agent.contract.about import AgentInfo, ConfigInfo, JournalInfo, LinkInfo, TerminalInfo
from agent.runtime.clock import Clock, rfc3339
from agent.store.transactions import TransactionJournal


class Identity(Struct, frozen=True):
    """What stays the same as long as the process lives, but for the journal's name, if its file is damaged."""

    version: str
    terminal: TerminalInfo
    mode: str
    boot_id: str
    journal_id: str
    config_digest: str


class About:
    """Answers both questions. ``metrics`` gives each group's latest readings."""

    def __init__(
        self,
        identity: Identity,
        journal: TransactionJournal,
        link: LinkView,
        metrics: Callable[[], Mapping[str, object]],
        clock: Clock,
        *,
        unsent: Callable[[], Awaitable[int]],
    ) -> None:
        """``unsent``: how many messages wait for the broker."""
        self._identity = identity
        self._journal = journal
        self._link = link
        self._metrics = metrics
        self._clock = clock
        self._unsent = unsent
        self._started_at = clock.now()
        self._started_s = clock.monotonic()

    def renamed(self, journal_id: str) -> None:
        """The journal is continued as another one: a damaged file was replaced."""
        self._identity = replace(self._identity, journal_id=journal_id)

    async def info(self) -> AgentInfo:
        """Everything as of now."""
        identity = self._identity
        first, last = await self._journal.extent()
        return AgentInfo(
            version=identity.version,
            terminal=identity.terminal,
            mode=identity.mode,
            boot_id=identity.boot_id,
            journal_id=identity.journal_id,
            started_at=rfc3339(self._started_at),
            uptime_s=round(self._clock.monotonic() - self._started_s, 3),
            uplink=self._link.info(await self._unsent()),
            journal=JournalInfo(last - first + 1 if last else 0, last),
            config=ConfigInfo(identity.config_digest),
        )

    def metrics(self) -> Mapping[str, object]:
        """Group → readings, each with its unit in the name."""
        return self._metrics()


class LinkView:
    """Remembers what the uplink last said of its link."""

    def __init__(self, clock: Clock, *, configured: bool) -> None:
        self._clock = clock
        self._configured = configured
        self._connected = False
        self._since: datetime = clock.now()
        self._detail = "not connected yet" if configured else "no broker is configured"

    def changed(self, connected: bool, detail: str) -> None:
        """The link came up or went down, or why it is down is another reason than before."""
        if connected != self._connected:
            self._since = self._clock.now()
        self._connected, self._detail = connected, detail

    @property
    def connected(self) -> bool:
        return self._connected

    def info(self, unsent: int) -> LinkInfo:
        """As of now, with how many messages wait."""
        return LinkInfo(self._configured, self._connected, rfc3339(self._since), self._detail, unsent)
