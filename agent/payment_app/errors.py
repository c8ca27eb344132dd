"""What can go wrong for a payment application, told apart by what it can do. No message holds anything of a record."""

from __future__ import annotations


class PaymentError(Exception):
    """Base of all. ``code`` is stable; ``field`` names the input at fault; ``hint`` says what to do."""

    def __init__(self, message: str, *, code: str, field: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field
        self.hint = hint


class RecordRefused(PaymentError):
    """A final answer: this record is never sent again as it is. It is not in ``pending``.

    ``TXN_CONFLICT``: it is stored and marked, under ``sequence``; a person looks at it. ``INVALID_TRANSITION``,
    ``BAD_PARAMS``: not stored. ``CARD_DATA_REJECTED``: not stored; ``rule`` says which rule it broke.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        field: str | None = None,
        hint: str | None = None,
        rule: str | None = None,
        sequence: int | None = None,
    ) -> None:
        super().__init__(message, code=code, field=field, hint=hint)
        self.rule = rule
        self.sequence = sequence


class RecordKept(PaymentError):
    """Not acknowledged, and kept in ``pending``: go on selling. It is sent again with the next call.

    ``durable``: it is in the spool, so that it survives the application's own crash, too.
    """

    durable = False


class AgentSilent(RecordKept):
    """Nobody there, or no answer in time. Whether the record was stored is not known; sending it again is safe."""


class RecordNotStored(RecordKept):
    """The agent answered that it cannot store now: ``STORE_FULL``, ``STORE_UNAVAILABLE`` or a failure of its own."""


class NotAuthorised(RecordKept):
    """This program may not use the socket: its user must be a member of the group ``pos-payment``."""


class PendingFull(PaymentError):
    """So many records wait that no further one is kept: this one is the application's to keep."""


class TransactionUnknown(PaymentError):
    """The journal holds no such transaction."""


class TerminalLocked(PaymentError):
    """No new sale on this terminal; reversals and settlement go on. `PaymentClient.terminal_state` says why."""


class LeaseUnknown(PaymentError):
    """The lease is over, or was another process's: the agent was restarted, or it was not renewed in time."""


class OperationRunning(PaymentError):
    """The terminal is being worked on. ``retry_after_s``: when to ask again."""

    def __init__(self, message: str, *, code: str, hint: str | None = None, retry_after_s: float) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retry_after_s = retry_after_s
