"""What payment applications may ask on payment.sock: hand a record over, one or many, and look one up.

A record is answered when it is durable, never before. It is decoded and given to the journal in the very call in which
its frame is handled, so that records of one connection take effect in the order sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import structlog

from agent.contract import rpc
from agent.contract.journal_views import TransactionView
from agent.contract.rpc import (
    RecordManyItem,
    RecordManyParams,
    RecordManyResult,
    RecordResult,
    TransactionGetParams,
)
from agent.contract.transaction import Bindings, decode_record
from agent.errors import AgentError, BadRequest, CardDataRejected, NotFound
from agent.local_api.peer import PAYMENT, Caller
from agent.local_api.server import Method
from agent.store.transactions import Stored, TransactionJournal

log = structlog.get_logger("local_api")

_RECORDS: Final = frozenset({"records"})


class PaymentMethods:
    """The methods of payment.sock over one journal."""

    def __init__(self, journal: TransactionJournal, *, bindings: Bindings, on_card_data: Callable[[str], None]) -> None:
        """``on_card_data``: told the rule for each record of several that is refused; single ones the server tells."""
        self._journal = journal
        self._bindings = bindings
        self._on_card_data = on_card_data

    def table(self) -> dict[str, Method]:
        """Every method by its name."""
        return {
            "transaction.record": Method(self._record, PAYMENT, _record_result),
            "transaction.record_many": Method(self._record_many, PAYMENT),
            "transaction.get": Method(self._get, PAYMENT),
        }

    def _record(self, params: Mapping[str, object], _caller: Caller) -> asyncio.Future[Stored]:
        return self._journal.submit(decode_record(params, self._bindings))

    def _record_many(self, params: Mapping[str, object], _caller: Caller) -> asyncio.Future[RecordManyResult]:
        records = _decode_many(params)
        answers = _Answers(len(records))
        for index, record in enumerate(records):
            try:
                future = self._journal.submit(decode_record(_as_record(record), self._bindings))
            except AgentError as err:
                if isinstance(err, CardDataRejected):
                    self._on_card_data(str(err.facts["rule"]))
                answers.put(index, RecordManyItem(error=rpc.error_object(err)))
            else:
                future.add_done_callback(partial(answers.put_outcome, index))
        return answers.complete

    async def _get(self, params: Mapping[str, object], _caller: Caller) -> TransactionView:
        wanted = rpc.decode_params(params, TransactionGetParams)
        view = await self._journal.get(wanted.transaction_id)
        if view is None:
            raise NotFound("no such transaction in this journal", field="transaction_id", hint="record it")
        return view


def _decode_many(params: Mapping[str, object]) -> list[object]:
    """The records, not decoded yet: a wrong one must not spoil the others."""
    records = params.get("records")
    if params.keys() == _RECORDS and isinstance(records, list):
        if len(records) <= rpc.MAX_RECORDS:
            return records
        raise BadRequest(  # the records themselves may be right, and are none of this refusal's business
            f"one call takes at most {rpc.MAX_RECORDS} records", field="records", hint="send them in several calls"
        )
    return rpc.decode_params(params, RecordManyParams).records


def _as_record(value: object) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        return value
    rpc.refuse_card_data(value)
    raise BadRequest("a record is a JSON object", hint="send an object with the record's fields")


def _record_result(stored: Stored) -> RecordResult:
    return RecordResult(stored.sequence, stored.duplicate)


class _Answers:
    """Collects one outcome for each of several records; `complete` has all of them, in order."""

    def __init__(self, count: int) -> None:
        self.complete: asyncio.Future[RecordManyResult] = asyncio.get_running_loop().create_future()
        self._items: list[RecordManyItem | None] = [None] * count
        self._missing = count
        if not count:
            self.complete.set_result(RecordManyResult([]))

    def put_outcome(self, index: int, future: asyncio.Future[Stored]) -> None:
        if future.cancelled():
            self.complete.cancel()
            return
        err = future.exception()
        if err is None:
            stored = future.result()
            self.put(index, RecordManyItem(stored.sequence, stored.duplicate))
        elif isinstance(err, AgentError):
            self.put(index, RecordManyItem(error=rpc.error_object(err)))
        else:
            log.error("record.failed", error=type(err).__name__, exc_info=err)
            self.put(index, RecordManyItem(error=rpc.INTERNAL))

    def put(self, index: int, item: RecordManyItem) -> None:
        self._items[index] = item
        self._missing -= 1
        if not self._missing and not self.complete.done():
            self.complete.set_result(RecordManyResult([item for item in self._items if item is not None]))
