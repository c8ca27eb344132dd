"""``agent.info``: who this agent is, since when, and how its link and its journal are."""

from __future__ import annotations

from msgspec import Struct


class TerminalInfo(Struct, frozen=True):
    """Identities; they never change with a provider."""

    site: str
    terminal: str
    serial: str
    model: str | None


class LinkInfo(Struct, frozen=True):
    """The way to the broker. ``since``: connected, or not, since then. ``unsent``: messages that wait for it."""

    configured: bool
    connected: bool
    since: str
    detail: str
    unsent: int


class JournalInfo(Struct, frozen=True):
    """How far the journal reaches. Sequences have no holes, so the first and the last give the number."""

    entries: int
    last_sequence: int


class ConfigInfo(Struct, frozen=True):
    digest: str


class AgentInfo(Struct, frozen=True):
    """The answer of ``agent.info``."""

    version: str
    terminal: TerminalInfo
    mode: str
    boot_id: str
    journal_id: str
    started_at: str
    uptime_s: float
    uplink: LinkInfo
    journal: JournalInfo
    config: ConfigInfo
