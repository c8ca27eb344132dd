"""Every channel below ``pos/v1/<site>/<terminal>/``: who writes it, how it is delivered, what it holds, what it is for.

A catalogue for people and tools: ``docs/asyncapi.json`` and the table in ``docs/mqtt.md`` are made from it, and tests
hold what the agent really publishes against it. The daemon itself does not read it. Topic Names: ``topics.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

from agent.contract import topics
from agent.contract.command import COMMAND_TYPE, CommandRequest, CommandState
from agent.contract.health import DeviceHealth, FaultEvent, FaultList, Readiness
from agent.contract.journal_upload import ACK_TYPE, CollectorAck, EntryBatch
from agent.contract.link_messages import Batch, Birth, Status, UnsendableEvent
from agent.contract.rpc import ConfigResult
from agent.contract.security_event import SecurityEvent
from agent.contract.signed import Envelope


class Sender(StrEnum):
    """Who publishes on a channel."""

    TERMINAL = "terminal"
    OPERATOR = "operator"
    COLLECTOR = "collector"


class Channel(Struct, frozen=True, kw_only=True):
    """One Topic Name with its parameters in braces.

    Attributes:
        below: What follows the terminal's own level, ``dev/{device}/health``.
        clears: An empty payload may come too: it takes the retained message away.
        signed: For a DSSE envelope: its ``payloadType`` and the struct of its decoded payload.
        site_wide: It also exists below ``_all`` in place of the terminal.
        when: At which moments it is published.
    """

    name: str
    below: str
    sender: Sender
    qos: int
    retained: bool
    payload: type[Struct]
    summary: str
    when: str
    clears: bool = False
    signed: tuple[str, type[Struct]] | None = None
    site_wide: bool = False

    def matches(self, below: str) -> bool:
        """Whether a Topic Name's part after the terminal's level is of this channel."""
        pattern, given = self.below.split("/"), below.split("/")
        return len(pattern) == len(given) and all(
            bool(level) if name.startswith("{") else name == level for name, level in zip(pattern, given, strict=True)
        )


PARAMETERS: Final[Mapping[str, str]] = {
    "site": "Level of the site: [terminal] site in the configuration",
    "terminal": "Level of this unit: [terminal] terminal in the configuration; also its client id",
    "group": "host, store, agent, or a device's id",
    "device": "A device's id in the model file or the configuration, or a part of the board",
    "command": "A command's name",
    "command_id": "The order's own id",
}

CHANNELS: Final[tuple[Channel, ...]] = (
    Channel(
        name="status",
        below=topics.STATUS,
        sender=Sender.TERMINAL,
        qos=1,
        retained=True,
        payload=Status,
        summary="Whether the agent is connected. Also the Will Message, delayed by 10 s, with the same conn",
        when="first on every connection, at an orderly stop, and again when a late Will said otherwise",
    ),
    Channel(
        name="birth",
        below=topics.BIRTH,
        sender=Sender.TERMINAL,
        qos=1,
        retained=True,
        payload=Birth,
        summary="Who this terminal is: identities, model, versions, capabilities, commands",
        when="on every connection",
    ),
    Channel(
        name="readiness",
        below=topics.READINESS,
        sender=Sender.TERMINAL,
        qos=1,
        retained=True,
        payload=Readiness,
        summary="Can this terminal sell?",
        when="on every connection and on every change",
    ),
    Channel(
        name="faults",
        below=topics.FAULTS,
        sender=Sender.TERMINAL,
        qos=1,
        retained=True,
        payload=FaultList,
        summary="All active faults, the most severe first",
        when="on every connection and on every change",
    ),
    Channel(
        name="config",
        below=topics.CONFIG,
        sender=Sender.TERMINAL,
        qos=1,
        retained=True,
        payload=ConfigResult,
        summary="Which configuration runs: version and digest, never its content",
        when="on every connection",
    ),
    Channel(
        name="metrics",
        below=topics.metrics("{group}"),
        sender=Sender.TERMINAL,
        qos=0,
        retained=False,
        payload=Batch,
        summary="The latest readings of one group; may be lost",
        when="every uplink.metrics_interval_s, if anything changed",
    ),
    Channel(
        name="device_health",
        below=topics.device_health("{device}"),
        sender=Sender.TERMINAL,
        qos=1,
        retained=True,
        payload=DeviceHealth,
        summary="How one device or part of the board is",
        when="on every connection, on every change, and once a day; empty when the terminal has the device no more",
        clears=True,
    ),
    Channel(
        name="fault_event",
        below=topics.event("fault"),
        sender=Sender.TERMINAL,
        qos=1,
        retained=False,
        payload=FaultEvent,
        summary="A fault has come (pos-agent.fault.raised) or gone (pos-agent.fault.cleared)",
        when="once for each change; kept in the outbox until the broker has it",
    ),
    Channel(
        name="security_event",
        below=topics.event("security"),
        sender=Sender.TERMINAL,
        qos=1,
        retained=False,
        payload=SecurityEvent,
        summary="What nobody entitled tried, counted",
        when="at most once a minute for each code",
    ),
    Channel(
        name="unsendable_event",
        below=topics.event("unsendable"),
        sender=Sender.TERMINAL,
        qos=1,
        retained=False,
        payload=UnsendableEvent,
        summary="A message was beyond the hard limit; this stands in its place",
        when="instead of the message",
    ),
    Channel(
        name="transactions",
        below=topics.TRANSACTIONS,
        sender=Sender.TERMINAL,
        qos=1,
        retained=False,
        payload=EntryBatch,
        summary="Entries of the transaction journal in order; the last one's hash is the chain so far",
        when="once they are durable, at most 8 messages beyond the last acknowledgement; again from there on every"
        " connection and after 60 s without one",
    ),
    Channel(
        name="transactions_ack",
        below=topics.TRANSACTIONS_ACK,
        sender=Sender.COLLECTOR,
        qos=1,
        retained=False,
        payload=Envelope,
        summary="The collector's signed word for what it holds. Only this marks entries delivered",
        when="once the collector's own store is durable",
        signed=(ACK_TYPE, CollectorAck),
    ),
    Channel(
        name="operation",
        below=topics.operation("{command}", "{command_id}"),
        sender=Sender.TERMINAL,
        qos=1,
        retained=True,
        payload=CommandState,
        summary="Where an order is, always the whole of it",
        when="on every change, and for open orders on every connection; empty once it is final and forgotten",
        clears=True,
    ),
    Channel(
        name="request",
        below=topics.request("{command}"),
        sender=Sender.OPERATOR,
        qos=1,
        retained=False,
        payload=Envelope,
        summary="A signed order. Never retained: a retained one is refused",
        when="whenever somebody orders something",
        signed=(COMMAND_TYPE, CommandRequest),
        site_wide=True,
    ),
)


def channel_of(below: str) -> Channel | None:
    """The channel of a Topic Name's part after the terminal's level; None when there is none such."""
    return next((channel for channel in CHANNELS if channel.matches(below)), None)
