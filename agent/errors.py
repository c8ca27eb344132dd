"""Every error that one room may raise to another, branched by what the caller can do about it.

Each class has a stable ``code`` (it goes to logs and into ``data.code`` of a socket answer) and keeps its facts.
No message and no fact ever holds a value that was refused. Drivers have their own branches in ``drivers/errors.py``.
"""

from __future__ import annotations

from typing import ClassVar

Fact = str | int | float | bool | None


class AgentError(Exception):
    """Base of all. ``field`` names the input at fault, ``hint`` says what to do next, ``facts`` are safe to show."""

    code: ClassVar[str] = "AGENT_ERROR"

    def __init__(self, message: str, *, field: str | None = None, hint: str | None = None, **facts: Fact) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.hint = hint
        self.facts: dict[str, Fact] = facts


# ── The caller sent something wrong: repeating it unchanged never helps ────────────────────────────────────────
class BadRequest(AgentError):
    """A parameter, record or message of wrong form."""

    code = "BAD_PARAMS"


class CardDataRejected(BadRequest):
    """Card data was offered. ``facts['rule']`` is R1 to R7; the value is nowhere."""

    code = "CARD_DATA_REJECTED"


class InvalidTransition(BadRequest):
    """A transaction state that cannot follow the recorded one. Not stored."""

    code = "INVALID_TRANSITION"


class NotFound(BadRequest):
    """The named thing does not exist here."""

    code = "NOT_FOUND"


# ── It was taken, but a person should look: do not retry ───────────────────────────────────────────────────────
class TransactionConflict(AgentError):
    """Same id and state with other content: stored and marked. ``facts['sequence']`` is the stored entry."""

    code = "TXN_CONFLICT"


# ── The caller may not, whoever repeats it ─────────────────────────────────────────────────────────────────────
class Refused(AgentError):
    """An order that is not allowed. ``code`` of the instance is the reason of the command contract."""

    code = "NOT_AUTHORISED"

    def __init__(self, message: str, *, reason: str | None = None, **kwargs: Fact) -> None:
        super().__init__(message, **kwargs)  # type: ignore[arg-type]  # field and hint pass through by name
        self.reason = reason or self.code


# ── Try again later ────────────────────────────────────────────────────────────────────────────────────────────
class Unavailable(AgentError):
    """The thing cannot be done now, and nothing was done."""

    code = "UNAVAILABLE"


class StoreFull(Unavailable):
    """The disk is full: the record was **not** stored."""

    code = "STORE_FULL"


class StoreUnavailable(Unavailable):
    """The store cannot write or read now: the record was **not** stored."""

    code = "STORE_UNAVAILABLE"


class ChildFailed(Unavailable):
    """A process that was to do a piece of work ended without a result. Whatever it had begun does not count."""

    code = "CHILD_FAILED"


class LinkDown(Unavailable):
    """There is no link to the broker, or it broke under the call: whether a message arrived is unknown."""

    code = "UPLINK_DOWN"


# ── The broker said no to this one message; others may pass ────────────────────────────────────────────────────
class PublishRefused(AgentError):
    """A PUBLISH was refused. ``facts['reason_code']`` is the MQTT 5 Reason Code, 0x80 and above."""

    code = "PUBLISH_REFUSED"


# ── A person must act before this works again ──────────────────────────────────────────────────────────────────
class NeedsPerson(AgentError):
    """Starting or going on makes no sense until somebody changed something."""

    code = "NEEDS_PERSON"


class ConfigInvalid(NeedsPerson):
    """The configuration has problems; ``problems`` lists every one with file and key."""

    code = "CONFIG_INVALID"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StateLocked(NeedsPerson):
    """Another process works on the same state folder."""

    code = "STATE_LOCKED"


class StoreDamaged(NeedsPerson):
    """The database file cannot be used as it is."""

    code = "STORE_DAMAGED"


class BackupUnusable(NeedsPerson):
    """A backup file is cut short, altered, or encrypted to other keys. ``facts`` say where, as far as it is known."""

    code = "BACKUP_UNUSABLE"


class PolicyInvalid(NeedsPerson):
    """The trust policy cannot be used."""

    code = "POLICY_INVALID"
