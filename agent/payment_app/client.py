"""The client that payment applications take with them: hand records to pos-agent, never wait longer than agreed.

Standard library only; the folder can be copied into any application. In use::

    from agent.payment_app.client import PaymentClient, RecordKept, RecordRefused

    client = PaymentClient("/run/pos-agent/payment.sock", pending=my_own_storage.load())
    try:
        stored = client.record({"transaction_id": "0192f6d0-7c1e-7000-8000-000000000001", "state": "approved", ...})
        print("durable on this terminal, sequence", stored.sequence)
    except RecordKept:                       # silent, full, or not allowed: the sale goes on
        my_own_storage.save(client.pending)  # sent again, in order, with the next call or by retry()
    except RecordRefused as err:             # final: sending it again as it is never helps
        my_own_log(err.code, err.field, err.hint)

What is kept is kept in memory only: an application that may lose power saves ``client.pending`` itself and gives it
back at its start. A record may be sent any number of times: the agent stores it once and answers its first sequence.
Records are sent in the order in which they were given. One object may be used by several threads.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent.payment_app.connection import MAX_FRAME_BYTES, Answered, Connection, NoAnswer
from agent.payment_app.errors import (
    AgentSilent,
    NotAuthorised,
    PaymentError,
    PendingFull,
    RecordKept,
    RecordNotStored,
    RecordRefused,
    TransactionUnknown,
)

__all__ = [
    "AgentSilent",
    "NotAuthorised",
    "PaymentClient",
    "PaymentError",
    "PendingFull",
    "RecordKept",
    "RecordNotStored",
    "RecordRefused",
    "Recorded",
    "TransactionUnknown",
]

DEFAULT_TIMEOUT_S: Final = 0.5
MAX_PENDING: Final = 10_000
_RECORDS_A_CALL: Final = 100
_ROOM_BYTES: Final = MAX_FRAME_BYTES - 256  # what is left for records beside the rest of a frame
_FINAL: Final = frozenset(
    {"TXN_CONFLICT", "INVALID_TRANSITION", "BAD_PARAMS", "CARD_DATA_REJECTED", "PARSE_ERROR", "INVALID_REQUEST"}
)

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Recorded:
    """The record is durable on the terminal. ``duplicate``: it was there before, under this sequence."""

    sequence: int
    duplicate: bool


Outcome = Recorded | RecordRefused


class _Entry:
    """A record on its way. ``outcome`` is None until there is a final answer."""

    __slots__ = ("outcome", "problem", "record", "text")

    def __init__(self, record: Record) -> None:
        self.record = dict(record)
        try:
            text = json.dumps(self.record, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        self.text = text.encode()
        self.outcome: Outcome | None = None
        self.problem: RecordKept | None = None


class PaymentClient:
    """See the module. Connects by itself, now and after every restart of the agent."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        timeout_s: float = DEFAULT_TIMEOUT_S,
        *,
        pending: Iterable[Record] = (),
        max_pending: int = MAX_PENDING,
        on_settled: Callable[[Record, Outcome], None] | None = None,
    ) -> None:
        """
        Args:
            timeout_s: The longest that any call takes.
            pending: What ``pending`` held when it was saved last.
            max_pending: How many records are kept at most.
            on_settled: Told of each record that had to wait, when it has its final answer. It must not call back.
        """
        self._connection = Connection(path)
        self._timeout_s = timeout_s
        self._entries = [_Entry(record) for record in pending]
        self._max_pending = max_pending
        self._on_settled = on_settled
        self._lock = threading.Lock()  # one call at a time
        self._list_lock = threading.Lock()  # never held while waiting

    def __enter__(self) -> PaymentClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. ``pending`` stays; a further call connects again."""
        with self._lock:
            self._connection.close()

    @property
    def pending(self) -> tuple[dict[str, Any], ...]:
        """Records without a final answer, oldest first: for the application to save."""
        return tuple(entry.record for entry in list(self._entries))

    def record(self, record: Record) -> Recorded:
        """Hand over one record (and, before it, what is pending); returns when it is durable.

        Raises:
            RecordRefused: Final; not kept.
            AgentSilent, RecordNotStored, NotAuthorised: All are `RecordKept`: it is in ``pending`` now.
            PendingFull: Not acknowledged and not kept.
            TypeError, ValueError: It is no JSON.
        """
        (outcome,) = self.record_many([record])
        if isinstance(outcome, Recorded):
            return outcome
        raise outcome

    def record_many(self, records: Sequence[Record]) -> list[Recorded | RecordRefused | RecordKept]:
        """The same for several at once; each stands for itself, and its outcome is in the same place.

        Raises:
            PendingFull: None of them is kept or was sent.
            TypeError, ValueError: One of them is no JSON; none was sent.
        """
        deadline_s = time.monotonic() + self._timeout_s
        new = [_Entry(record) for record in records]
        with self._list_lock:
            if len(self._entries) + len(new) > self._max_pending:
                raise PendingFull("too many records wait for the agent", code="PENDING_FULL", hint="keep it yourself")
            self._entries = [*self._entries, *new]
        with _Held(self._lock, deadline_s) as held:
            if held:
                self._send_all(deadline_s, frozenset(new))
        silent = AgentSilent("the agent is busy with another call of this program", code="NO_ANSWER")
        return [entry.outcome or entry.problem or silent for entry in new]

    def retry(self) -> int:
        """Send what is pending, in at most the timeout; returns how many still wait. For a quiet moment."""
        deadline_s = time.monotonic() + self._timeout_s
        with _Held(self._lock, deadline_s) as held:
            if held:
                self._send_all(deadline_s, frozenset())
        return len(self._entries)

    def get(self, transaction_id: str) -> dict[str, Any]:
        """What the journal holds of one transaction: ``current``, ``history``, ``copies``.

        Raises:
            TransactionUnknown, AgentSilent, PaymentError: Nothing is kept.
        """
        deadline_s = time.monotonic() + self._timeout_s
        with _Held(self._lock, deadline_s) as held:
            if not held:
                raise AgentSilent("the agent is busy with another call of this program", code="NO_ANSWER")
            try:
                params = json.dumps({"transaction_id": transaction_id}).encode()
                view: dict[str, Any] = self._connection.call("transaction.get", params, deadline_s)
            except NoAnswer as err:
                raise AgentSilent(str(err), code="NO_ANSWER", hint="ask again later") from err
            except Answered as err:
                facts = _Facts(err.error)
                if facts.code == "NOT_FOUND":
                    raise TransactionUnknown(facts.message, code=facts.code, hint=facts.hint) from None
                raise facts.as_error() from None
        return view

    # ── sending; the lock is held ──────────────────────────────────────────────────────────────────────────────
    def _send_all(self, deadline_s: float, new: frozenset[_Entry]) -> None:
        """Send everything that waits, in order, as far as time allows; take out what has its final answer."""
        waiting = list(self._entries)
        try:
            while waiting:
                batch, waiting = _batch(waiting)
                self._send(batch, deadline_s)
        except NoAnswer as err:
            self._mark(AgentSilent(str(err), code="NO_ANSWER", hint="go on selling; it is sent again"))
        except Answered as err:
            self._mark(_Facts(err.error).as_kept(at_the_door=err.at_the_door))
        with self._list_lock:
            settled = [entry for entry in self._entries if entry.outcome is not None]
            self._entries = [entry for entry in self._entries if entry.outcome is None]
        for entry in settled:
            if entry not in new and entry.outcome is not None and self._on_settled is not None:
                self._on_settled(entry.record, entry.outcome)

    def _mark(self, problem: RecordKept) -> None:
        for entry in self._entries:
            if entry.outcome is None and entry.problem is None:
                entry.problem = problem

    def _send(self, batch: list[_Entry], deadline_s: float) -> None:
        """One call; each entry has its outcome or its problem afterwards."""
        for entry in batch:
            entry.problem = None
        if len(batch) == 1:
            (entry,) = batch
            if len(entry.text) > _ROOM_BYTES:
                entry.outcome = RecordRefused("a record of this size is never taken", code="BAD_PARAMS")
                return
            try:
                self._settle(entry, self._connection.call("transaction.record", entry.text, deadline_s))
            except Answered as err:
                if err.at_the_door and not err.not_understood:
                    raise
                self._settle(entry, {"error": err.error})
            return
        try:
            results = self._call_many(batch, deadline_s)
        except Answered as err:
            if not err.not_understood:
                raise
            for entry in batch:  # one of them spoils the whole: each by itself
                self._send([entry], deadline_s)
            return
        for entry, result in zip(batch, results, strict=True):
            self._settle(entry, result)

    def _call_many(self, batch: list[_Entry], deadline_s: float) -> list[Any]:
        params = b'{"records":[%b]}' % b",".join(entry.text for entry in batch)
        answer = self._connection.call("transaction.record_many", params, deadline_s)
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list) or len(results) != len(batch):
            raise NoAnswer("what answers at the socket is not the agent")
        return results

    def _settle(self, entry: _Entry, result: Any) -> None:
        error = result.get("error") if isinstance(result, dict) else None
        if isinstance(error, dict):
            facts = _Facts(error)
            if facts.code in _FINAL:
                entry.outcome = facts.as_refusal()
            else:
                entry.problem = facts.as_kept(at_the_door=False)
        elif isinstance(result, dict) and isinstance(result.get("sequence"), int):
            entry.outcome = Recorded(result["sequence"], bool(result.get("duplicate")))
        else:
            raise NoAnswer("what answers at the socket is not the agent")


def _batch(waiting: list[_Entry]) -> tuple[list[_Entry], list[_Entry]]:
    """As many of the first as one call takes, at least one; and the rest."""
    size = count = 0
    for entry in waiting[:_RECORDS_A_CALL]:
        size += len(entry.text) + 1
        if count and size > _ROOM_BYTES:
            break
        count += 1
    return waiting[:count], waiting[count:]


class _Held:
    """The lock, waited for no longer than the deadline; True when it was had."""

    def __init__(self, lock: threading.Lock, deadline_s: float) -> None:
        self._lock = lock
        self._deadline_s = deadline_s
        self._held = False

    def __enter__(self) -> bool:
        self._held = self._lock.acquire(timeout=max(0.0, self._deadline_s - time.monotonic()))
        return self._held

    def __exit__(self, *_: object) -> None:
        if self._held:
            self._lock.release()


class _Facts:
    """What an error answer says."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        data = error.get("data")
        self._data: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        self.code = str(self._data.get("code") or error.get("code", "UNKNOWN"))
        self.message = str(error.get("message", "refused"))
        self.field: str | None = self._data.get("field")
        self.hint: str | None = self._data.get("hint")

    def as_refusal(self) -> RecordRefused:
        rule, sequence = self._data.get("rule"), self._data.get("sequence")
        return RecordRefused(
            self.message, code=self.code, field=self.field, hint=self.hint, rule=rule, sequence=sequence
        )

    def as_kept(self, *, at_the_door: bool) -> RecordKept:
        if self.code == "NOT_AUTHORISED":
            return NotAuthorised(self.message, code=self.code, hint=self.hint)
        kind = AgentSilent if at_the_door else RecordNotStored
        return kind(self.message, code=self.code, hint=self.hint)

    def as_error(self) -> PaymentError:
        if self.code == "NOT_AUTHORISED":
            return NotAuthorised(self.message, code=self.code, hint=self.hint)
        return PaymentError(self.message, code=self.code, field=self.field, hint=self.hint)
