"""Orders and what becomes of them: the payload of a signed order, a local order, and the state message.

Source: the product's contract, "Commands". How an order is signed is in ``agent/trust``; what each command does with
its arguments is in ``agent/commands``.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, Struct

COMMAND_TYPE: Final = "application/vnd.pos-agent.command.v1+json"
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")

CommandId = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z", description="the same id, the same order")
]
CommandName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z", description="a key of the command catalog")]
TerminalId = Annotated[str, Meta(pattern=r"^(_all|[A-Za-z0-9][A-Za-z0-9_-]{0,63})\Z")]
Serial = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")]
DeviceName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z", description="a device's id in the model or configuration")
]
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339 with offset")]
TimeOfDay = Annotated[
    str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z", description="HH:MM, the terminal's local time")
]
WhyText = Annotated[str, Meta(max_length=256, description="for people: a ticket, a name")]


class State(StrEnum):
    """Where an order is. The last six are final."""

    ACCEPTED = "accepted"
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self not in (State.ACCEPTED, State.WAITING, State.RUNNING)


class ReasonCode(StrEnum):
    """Why an order waits, was refused or failed. Stable."""

    NOT_AUTHORISED = "NOT_AUTHORISED"
    EXPIRED = "EXPIRED"
    LIFETIME_TOO_LONG = "LIFETIME_TOO_LONG"
    REPLAYED = "REPLAYED"
    UNKNOWN_COMMAND = "UNKNOWN_COMMAND"
    INVALID_REQUEST = "INVALID_REQUEST"
    INVALID_ARGUMENTS = "INVALID_ARGUMENTS"
    DEVICE_UNKNOWN = "DEVICE_UNKNOWN"
    SALE_RUNNING = "SALE_RUNNING"
    BUSY_UNKNOWN = "BUSY_UNKNOWN"
    PENDING_REVERSALS = "PENDING_REVERSALS"
    UNKNOWN_RESULTS = "UNKNOWN_RESULTS"
    BATCH_UNSETTLED = "BATCH_UNSETTLED"
    SAF_PENDING = "SAF_PENDING"
    OPERATION_RUNNING = "OPERATION_RUNNING"
    QUEUE_FULL = "QUEUE_FULL"
    OUTSIDE_WINDOW = "OUTSIDE_WINDOW"
    CLOCK_UNTRUSTED = "CLOCK_UNTRUSTED"
    TERMINAL_LOCKED = "TERMINAL_LOCKED"
    FROZEN = "FROZEN"
    TOO_MANY_TRIES = "TOO_MANY_TRIES"
    STEP_FAILED = "STEP_FAILED"
    STEP_TIMEOUT = "STEP_TIMEOUT"
    NOT_VERIFIED = "NOT_VERIFIED"
    INTERRUPTED = "INTERRUPTED"
    RESTORED = "RESTORED"
    CANCELLED = "CANCELLED"


class Target(Struct, frozen=True, forbid_unknown_fields=True):
    """For whom. ``terminal`` is ``_all`` in an order to a whole site; ``serial`` binds it to one piece of hardware."""

    terminal: TerminalId
    serial: Serial | None = None


class Window(Struct, frozen=True, forbid_unknown_fields=True, rename={"begin": "from", "end": "to"}):
    """When it may start, by the terminal's local time; from ``begin`` on, before ``end``; may cross midnight."""

    begin: TimeOfDay
    end: TimeOfDay


class CommandRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The decoded payload of a signed order, schema 1. ``arguments`` are decoded by the command itself."""

    command_id: CommandId
    name: CommandName
    target: Target
    issued_at: Instant
    expires_at: Instant
    arguments: Raw = Raw(b"{}")
    reason: WhyText | None = None
    window: Window | None = None


class LocalOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """``command.run`` on the control socket: either the first four fields, or a signed order carried in by hand."""

    command_id: CommandId | None = None
    name: CommandName | None = None
    arguments: dict[str, object] | None = None
    reason: WhyText | None = None
    envelope: dict[str, object] | None = None


class Reason(Struct, frozen=True, forbid_unknown_fields=True):
    """``text`` is for people and never repeats a refused value."""

    code: ReasonCode
    text: str


class CommandState(Struct, frozen=True, forbid_unknown_fields=True):
    """The state message, always whole: eleven fields. ``step`` counts from 1; ``progress`` is 0 to 100."""

    command_id: str
    name: str
    state: State
    rev: int
    step: int | None
    steps: int | None
    progress: int | None
    reason: Reason | None
    accepted_at: str
    updated_at: str
    result: Raw  # JSON, ``null`` without one


class CommandPage(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a list, the newest first; ``next_cursor`` is null on the last page."""

    items: tuple[CommandState, ...]
    next_cursor: str | None


def usable_id(value: object) -> str | None:
    """``value`` if an order can be known by it."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def usable_name(value: object) -> str | None:
    """``value`` if it can be a level of a Topic Name and a key of the catalog."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def encode_state(state: CommandState) -> bytes:
    """The state message as JSON."""
    return msgspec.json.encode(state)
