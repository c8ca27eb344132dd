"""What technicians and ``posctl`` may ask on control.sock: how the terminal is, what the journal holds, and orders.

Reading needs the right ``support``. An order takes the way of a remote one; who may give which is decided there, by
policy. What is told comes from callables that the composition root hands over, so that this room knows no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from agent.contract import card_data, rpc
from agent.contract.backup_views import BackupPage
from agent.contract.calls import BackupRunParams, BackupVerifyParams, CommandCancelParams, HealthCheckParams
from agent.contract.command import CommandPage, CommandState, LocalOrder
from agent.contract.health import HealthSnapshot, HistoryPage, Readiness
from agent.contract.journal_views import Page, SummaryPage, Verification
from agent.contract.rpc import (
    BackupListParams,
    CommandGetParams,
    CommandListParams,
    ConfigResult,
    HealthHistoryParams,
    HealthResult,
    Nothing,
    TransactionListParams,
)
from agent.errors import BadRequest, NotFound
from agent.local_api.events import subscribing
from agent.local_api.peer import SUPPORT, Caller
from agent.local_api.server import Method
from agent.runtime.identifiers import uuid7
from agent.store.transactions import TransactionFilters, TransactionJournal

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ControlSubjects(Struct, frozen=True):
    """Where the answers come from. ``info`` and ``metrics`` give whatever msgspec encodes, or awaitables of it."""

    journal: TransactionJournal
    info: Callable[[], object]
    health: Callable[[], HealthSnapshot]
    history: Callable[[int, str | None, str | None], Awaitable[HistoryPage]]
    backups: Callable[[int, str | None, str | None], Awaitable[BackupPage]]
    order: Callable[[LocalOrder, Caller], Awaitable[CommandState]]
    command: Callable[[str], Awaitable[CommandState | None]]
    commands: Callable[[int, str | None], Awaitable[CommandPage]]
    config: Callable[[], ConfigResult]
    metrics: Callable[[], object]


class ControlMethods:
    """The methods of control.sock over their subjects."""

    def __init__(self, subjects: ControlSubjects) -> None:
        self._subjects = subjects
        self._verifying: asyncio.Task[Verification] | None = None

    def table(self) -> dict[str, Method]:
        """Every method by its name."""
        subjects = self._subjects
        return {
            "agent.info": _tells(subjects.info),
            "health.get": _tells(self._health),
            "health.history": Method(self._history, SUPPORT),
            "readiness.get": _tells(self._readiness),
            "config.get": _tells(subjects.config),
            "metrics.get": _tells(subjects.metrics),
            "transaction.list": Method(self._transactions, SUPPORT),
            "transaction.summary": Method(self._summary, SUPPORT),
            "journal.verify": Method(self._verify, SUPPORT),
            "health.check": Method(self._check, SUPPORT, detached=True),
            "backup.list": Method(self._backups, SUPPORT),
            "backup.run": Method(self._back_up, SUPPORT, detached=True),
            "backup.verify": Method(self._verify_backup, SUPPORT, detached=True),
            "command.run": Method(self._run, SUPPORT, detached=True),
            "command.cancel": Method(self._cancel, SUPPORT, detached=True),
            "command.get": Method(self._command, SUPPORT),
            "command.list": Method(self._commands, SUPPORT),
            "events.subscribe": subscribing(SUPPORT),
        }

    def _health(self) -> HealthResult:
        snapshot = self._subjects.health()
        return HealthResult(snapshot.devices, snapshot.faults, snapshot.at)

    def _readiness(self) -> Readiness:
        return self._subjects.health().readiness

    async def _history(self, params: Mapping[str, object], _caller: Caller) -> HistoryPage:
        wanted = rpc.decode_params(params, HealthHistoryParams)
        return await self._subjects.history(wanted.limit, wanted.cursor, wanted.device)

    async def _transactions(self, params: Mapping[str, object], _caller: Caller) -> Page:
        wanted = rpc.decode_params(params, TransactionListParams)
        return await self._subjects.journal.list(_filters(wanted), wanted.limit, wanted.cursor)

    async def _summary(self, params: Mapping[str, object], _caller: Caller) -> SummaryPage:
        wanted = rpc.decode_params(params, TransactionListParams)
        return await self._subjects.journal.summary(_filters(wanted), wanted.limit, wanted.cursor)

    async def _verify(self, params: Mapping[str, object], _caller: Caller) -> Verification:
        """Reads the whole journal, so whoever asks meanwhile is given the answer of the one that runs."""
        rpc.decode_params(params, Nothing)
        if self._verifying is None or self._verifying.done():
            self._verifying = asyncio.get_running_loop().create_task(self._subjects.journal.verify())
        return await asyncio.shield(self._verifying)

    async def _run(self, params: Mapping[str, object], caller: Caller) -> CommandState:
        return await self._subjects.order(_order(params), caller)

    async def _check(self, params: Mapping[str, object], caller: Caller) -> CommandState:
        wanted = rpc.decode_params(params, HealthCheckParams)
        return await self._order("check_device", msgspec.structs.asdict(wanted), caller)

    async def _backups(self, params: Mapping[str, object], _caller: Caller) -> BackupPage:
        wanted = rpc.decode_params(params, BackupListParams)
        return await self._subjects.backups(wanted.limit, wanted.cursor, wanted.target)

    async def _back_up(self, params: Mapping[str, object], caller: Caller) -> CommandState:
        return await self._order_of("backup", params, BackupRunParams, caller)

    async def _verify_backup(self, params: Mapping[str, object], caller: Caller) -> CommandState:
        return await self._order_of("verify_backup", params, BackupVerifyParams, caller)

    async def _cancel(self, params: Mapping[str, object], caller: Caller) -> CommandState:
        wanted = rpc.decode_params(params, CommandCancelParams)
        return await self._order("cancel", msgspec.structs.asdict(wanted), caller)

    async def _order(self, name: str, arguments: dict[str, object], caller: Caller) -> CommandState:
        """The order that such a call stands for, on the way of all others; each call is another order."""
        order = _order({"command_id": uuid7(), "name": name, "arguments": arguments})
        return await self._subjects.order(order, caller)

    async def _order_of(
        self, name: str, params: Mapping[str, object], shape: type[Struct], caller: Caller
    ) -> CommandState:
        """The same where the caller may choose the order's id and say why: the rest are the arguments that it gave."""
        wanted = rpc.decode_params(params, shape)
        order = {one: getattr(wanted, one) for one in ("command_id", "reason") if one in params}
        arguments = {one: value for one, value in params.items() if one not in order}
        order = {"command_id": uuid7(), "name": name, "arguments": arguments, **_given(order)}
        return await self._subjects.order(_order(order), caller)

    async def _command(self, params: Mapping[str, object], _caller: Caller) -> CommandState:
        wanted = rpc.decode_params(params, CommandGetParams)
        state = await self._subjects.command(wanted.command_id)
        if state is None:
            raise NotFound("no such command in this journal", field="command_id", hint="command.list has the latest")
        return state

    async def _commands(self, params: Mapping[str, object], _caller: Caller) -> CommandPage:
        wanted = rpc.decode_params(params, CommandListParams)
        return await self._subjects.commands(wanted.limit, wanted.cursor)


def _tells(subject: Callable[[], Any]) -> Method:
    """A method without parameters."""

    def handle(params: Mapping[str, object], _caller: Caller) -> object:
        rpc.decode_params(params, Nothing)
        return subject()

    return Method(handle, SUPPORT)


def _given(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _filters(wanted: TransactionListParams) -> TransactionFilters:
    same = TransactionListParams.__struct_fields__
    chosen = {name: getattr(wanted, name) for name in TransactionFilters.__struct_fields__ if name in same}
    return TransactionFilters(**chosen, from_ms=_milliseconds(wanted.from_at), to_ms=_milliseconds(wanted.to_at))


def _milliseconds(at: datetime | None) -> int | None:
    """Since 1970 UTC; what lies between two of them is counted to the later one, so that it bounds the same entries."""
    return None if at is None else -((_EPOCH - at) // timedelta(milliseconds=1))


def _order(params: Mapping[str, object]) -> LocalOrder:
    """The order in ``params``, of one of its two forms, free of card data: it will be journalled and published.

    Raises:
        CardDataRejected, BadRequest: With the field.
    """
    order = rpc.decode_params(params, LocalOrder)
    if order.envelope is not None:  # opaque here; it is looked into after its signatures
        beside = next((name for name in ("command_id", "name", "arguments", "reason") if name in params), None)
        if beside is not None:
            raise BadRequest("an envelope carries the whole order", field=beside, hint="send the envelope alone")
        return msgspec.structs.replace(order, envelope=_plain(order.envelope, "envelope"))
    for name in ("command_id", "name"):
        if getattr(order, name) is None:
            raise BadRequest(f"a parameter is missing: {name}", field=name, hint="or send an envelope alone")
    for field, rule in (
        ("command_id", card_data.scan_request_id(order.command_id)),
        ("reason", card_data.scan_text(order.reason or "")),
    ):
        if rule is not None:
            raise rpc.card_data_rejected(field, rule)
    rpc.refuse_card_data({"arguments": order.arguments or {}}, frozenset({"arguments"}))
    return msgspec.structs.replace(order, arguments=_plain(order.arguments or {}, "arguments"))


def _plain(content: dict[str, object], field: str) -> dict[str, object]:
    """The same with fractions as numbers: what they mean is for whoever knows the command."""
    try:
        plain: dict[str, object] = msgspec.json.decode(rpc.json_text(content))
    except ValueError:  # its text may quote a number
        pass
    else:
        return plain
    raise BadRequest(f"{field} holds a number that is none", field=field, hint="numbers of ordinary size")
