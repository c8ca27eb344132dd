"""Every method of both sockets: what it takes, what it gives, who may call it, how it may be refused.

Source: the product's contract, "Sockets". One list, from which the reference of the sockets is made and with which the
server's own tables are compared. What every method may answer besides is in `COMMON_ERRORS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from agent.contract.about import AgentInfo
from agent.contract.backup_views import BackupPage
from agent.contract.calls import (
    BackupRunParams,
    BackupVerifyParams,
    CommandCancelParams,
    EventsSubscribeParams,
    HealthCheckParams,
    LeaseResult,
    SaleBeginParams,
    SaleEndParams,
    SaleRenewParams,
    TerminalState,
)
from agent.contract.command import CommandPage, CommandState, LocalOrder
from agent.contract.health import HistoryPage, Readiness
from agent.contract.journal_views import Page, SummaryPage, TransactionView, Verification
from agent.contract.link_messages import Value
from agent.contract.rpc import (
    BackupListParams,
    CommandGetParams,
    CommandListParams,
    ConfigResult,
    HealthHistoryParams,
    HealthResult,
    Nothing,
    RecordManyParams,
    RecordManyResult,
    RecordResult,
    TransactionGetParams,
    TransactionListParams,
)
from agent.contract.selling import AppStatus
from agent.contract.transaction_form import RecordFields


class Socket(StrEnum):
    """``<paths.run>/payment.sock`` or ``control.sock``."""

    PAYMENT = "payment"
    CONTROL = "control"


class Right(StrEnum):
    """Membership of ``pos-payment`` or ``pos-support``; root has every right. What orders need says the policy."""

    PAYMENT = "payment"
    SUPPORT = "support"


class MethodForm(Struct, frozen=True):
    """One method.

    Attributes:
        params: The struct of its parameters; they are always given by name.
        result: The struct (or other type) of its result.
        errors: The values of ``data.code`` that this method adds to `COMMON_ERRORS`.
    """

    socket: Socket
    name: str
    right: Right
    summary: str
    params: type[Struct]
    result: Any
    errors: tuple[str, ...] = ()


COMMON_ERRORS: Final[Mapping[str, str]] = {
    "PARSE_ERROR": "-32700: no JSON, a name twice in one object, an empty line, or invalid UTF-8",
    "INVALID_REQUEST": "-32600: no request of JSON-RPC 2.0",
    "NO_BATCH": "-32600: an array; there are no batches",
    "FRAME_TOO_LONG": "-32600: the line is longer than the socket takes; the connection is closed",
    "METHOD_NOT_FOUND": "-32601: no such method on this socket",
    "BAD_PARAMS": "-32602: a parameter of wrong form, named in data.field; unchanged it fails again",
    "INTERNAL_ERROR": "-32603: the agent failed in this call; the same call again is safe",
    "CARD_DATA_REJECTED": "-32000: card data was offered; data.rule names the rule, the value is nowhere",
    "NOT_AUTHORISED": "-32000: the caller's groups do not allow it",
    "UNAVAILABLE": "-32000: the agent is stopping; nothing was done",
    "TOO_MANY_CONNECTIONS": "-32000, id null: the connection is closed",
    "TOO_MUCH_UNFINISHED": "-32000, id null: too many unfinished lines of all peers; this connection is closed",
}
"""``data.code`` → JSON-RPC code and meaning, for what any call may be answered."""

OWN_ERRORS: Final[Mapping[str, str]] = {
    "TXN_CONFLICT": "same id and state with other content: stored under data.sequence and marked; do not retry",
    "INVALID_TRANSITION": "a state that cannot follow the recorded one; not stored",
    "STORE_FULL": "the disk is full; nothing was stored: retry later",
    "STORE_UNAVAILABLE": "the store cannot write or read now; nothing was stored: retry later",
    "NOT_FOUND": "the named thing does not exist here",
    "TERMINAL_LOCKED": "no new sale; reversals and settlement go on",
    "OPERATION_RUNNING": "an operation is under way: ask again after data.retry_after_s",
    "LEASE_UNKNOWN": "no lease of this process has that id, or it is over",
    "TOO_MANY_LEASES": "this process, or all together, hold too many: ask again after data.retry_after_s",
    "TOO_MANY_APPLICATIONS": "too many programs that are not configured: ask again after data.retry_after_s",
    "REPLAYED": "the command_id stands for another order",
}
"""``data.code`` → meaning, for what single methods add; all of them -32000."""

_SUBSCRIBE = "Be told of these kinds from now on, in place of those before, by notifications with the method event."
_READING = ("STORE_UNAVAILABLE",)
_WRITING = ("STORE_FULL", "STORE_UNAVAILABLE")
_PAYMENT, _CONTROL = (Socket.PAYMENT, Right.PAYMENT), (Socket.CONTROL, Right.SUPPORT)


def _form(
    place: tuple[Socket, Right], name: str, summary: str, params: type[Struct], result: Any, *errors: str
) -> MethodForm:
    return MethodForm(place[0], name, place[1], summary, params, result, errors)


METHODS: Final = (
    _form(
        _PAYMENT,
        "transaction.record",
        "Hand over one record; answered only after it is durable on this disk.",
        RecordFields,
        RecordResult,
        *("TXN_CONFLICT", "INVALID_TRANSITION", *_WRITING),
    ),
    _form(
        _PAYMENT,
        "transaction.record_many",
        "Hand over at most 100 records; each stands for itself and has its own result or error, in order.",
        RecordManyParams,
        RecordManyResult,
        *("TXN_CONFLICT", "INVALID_TRANSITION", *_WRITING),
    ),
    _form(
        _PAYMENT,
        "transaction.get",
        "Everything the journal holds of one transaction, and where there are copies of it.",
        TransactionGetParams,
        TransactionView,
        *("NOT_FOUND", *_READING),
    ),
    _form(
        _PAYMENT,
        "sale.begin",
        "Begin something that must not be disturbed; no operation begins until its end or for lease_s.",
        SaleBeginParams,
        LeaseResult,
        *("TERMINAL_LOCKED", "OPERATION_RUNNING", "TOO_MANY_LEASES"),
    ),
    _form(_PAYMENT, "sale.renew", "Have a lease end lease_s from now.", SaleRenewParams, LeaseResult, "LEASE_UNKNOWN"),
    _form(_PAYMENT, "sale.end", "It is over.", SaleEndParams, Nothing, "LEASE_UNKNOWN"),
    _form(
        _PAYMENT,
        "app.status",
        "What an application says of itself; at least every 30 s, stale after 90 s.",
        AppStatus,
        Nothing,
        "TOO_MANY_APPLICATIONS",
    ),
    _form(_PAYMENT, "terminal.state", "Locked? An operation under way? Ready to sell?", Nothing, TerminalState),
    _form(_PAYMENT, "events.subscribe", _SUBSCRIBE, EventsSubscribeParams, Nothing),
    _form(_CONTROL, "agent.info", "Version, identities, uplink and journal of this agent.", Nothing, AgentInfo),
    _form(_CONTROL, "health.get", "The state of every device and all active faults.", Nothing, HealthResult),
    _form(
        _CONTROL,
        "health.history",
        "Changes of devices' states, and faults as they came and went, the newest first.",
        HealthHistoryParams,
        HistoryPage,
        *_READING,
    ),
    _form(_CONTROL, "readiness.get", "Can this terminal sell, and if not, why.", Nothing, Readiness),
    _form(
        _CONTROL,
        "transaction.list",
        "Journal entries, filtered, a page at a time.",
        TransactionListParams,
        Page,
        *_READING,
    ),
    _form(
        _CONTROL,
        "transaction.summary",
        "Count and sum per binding, batch, currency and type.",
        TransactionListParams,
        SummaryPage,
        *_READING,
    ),
    _form(
        _CONTROL,
        "journal.verify",
        "Compute the whole chain again: is every entry as it was stored?",
        Nothing,
        Verification,
        *_READING,
    ),
    _form(
        _CONTROL,
        "health.check",
        "Look at one device now; an order check_device, answered with its recorded state at once.",
        HealthCheckParams,
        CommandState,
        *_WRITING,
    ),
    _form(
        _CONTROL,
        "backup.list",
        "Backups, the newest first, and how every place for them stands.",
        BackupListParams,
        BackupPage,
        *_READING,
    ),
    _form(
        _CONTROL,
        "backup.run",
        "Make a backup now; an order backup, answered with its recorded state at once.",
        BackupRunParams,
        CommandState,
        *("REPLAYED", *_WRITING),
    ),
    _form(
        _CONTROL,
        "backup.verify",
        "Read backups back and compare; an order verify_backup, answered with its recorded state at once.",
        BackupVerifyParams,
        CommandState,
        *("REPLAYED", *_WRITING),
    ),
    _form(
        _CONTROL,
        "command.cancel",
        "Cancel an order that waits; an order cancel, answered with its recorded state at once.",
        CommandCancelParams,
        CommandState,
        *_WRITING,
    ),
    _form(
        _CONTROL,
        "command.run",
        "Give an order, or carry in a signed one; answers its recorded state at once.",
        LocalOrder,
        CommandState,
        *("REPLAYED", *_WRITING),
    ),
    _form(
        _CONTROL,
        "command.get",
        "The recorded state of one order.",
        CommandGetParams,
        CommandState,
        *("NOT_FOUND", *_READING),
    ),
    _form(_CONTROL, "command.list", "Orders, the newest first.", CommandListParams, CommandPage, *_READING),
    _form(_CONTROL, "events.subscribe", _SUBSCRIBE, EventsSubscribeParams, Nothing),
    _form(_CONTROL, "config.get", "Digest and version of the configuration that runs.", Nothing, ConfigResult),
    _form(_CONTROL, "metrics.get", "The latest readings of every group.", Nothing, dict[str, dict[str, Value]]),
)


def methods_of(socket: Socket) -> dict[str, MethodForm]:
    """The methods of one socket by their names."""
    return {form.name: form for form in METHODS if form.socket is socket}
