"""Records on their way: kept in order until each has its final answer, sent in as few calls as fit.

The rules of sending again are the contract's: after a break the same record once more; never one that was refused for
good; everything else later, in the order in which it was given.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, Final, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from agent.payment_app.answers import FINAL, Facts
from agent.payment_app.calls import Held
from agent.payment_app.connection import MAX_FRAME_BYTES, Answered, Connection, NoAnswer
from agent.payment_app.errors import AgentSilent, PendingFull, RecordKept, RecordRefused
from agent.payment_app.spool import Spool

_RECORDS_A_CALL: Final = 100
_ROOM_BYTES: Final = MAX_FRAME_BYTES - 256  # what is left for records beside the rest of a frame

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Recorded:
    """The record is durable on the terminal. ``duplicate``: it was there before, under this sequence."""

    sequence: int
    duplicate: bool


Outcome = Union[Recorded, RecordRefused]


class Entry:
    """A record on its way. ``outcome`` is None until there is a final answer; ``number``: in the spool."""

    __slots__ = ("number", "outcome", "problem", "record", "text")

    def __init__(self, record: Record, number: Optional[int] = None) -> None:
        self.record: Dict[str, Any] = dict(record)
        self.number = number
        try:
            text = json.dumps(self.record, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        self.text = text.encode()
        self.outcome: Optional[Outcome] = None
        self.problem: Optional[RecordKept] = None


class Records:
    """All that wait, and the connection they go over. May be used by several threads."""

    def __init__(
        self,
        path: Union[str, "os.PathLike[str]"],
        timeout_s: float,
        *,
        pending: Iterable[Record],
        max_pending: int,
        on_settled: Optional[Callable[[Record, Outcome], None]],
        spool: Optional[Spool],
    ) -> None:
        spooled = spool.load() if spool is not None else {}
        self._connection = Connection(path)
        self._timeout_s = timeout_s
        self._entries = [Entry(record, number) for number, record in spooled.items()]
        self._entries += [Entry(record) for record in pending]
        self._max_pending = max_pending
        self._on_settled = on_settled
        self._spool = spool
        self._next_number = max(spooled, default=0) + 1
        self._lock = threading.Lock()  # one call at a time
        self._list_lock = threading.Lock()  # never held while waiting for the agent

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def pending(self) -> Tuple[Dict[str, Any], ...]:
        """Records without a final answer, oldest first."""
        return tuple(entry.record for entry in list(self._entries))

    def offer(self, records: Sequence[Record]) -> List[Union[Recorded, RecordRefused, RecordKept]]:
        """Send these after all that wait; what has no final answer in time waits, too. See `PaymentClient`."""
        deadline_s = time.monotonic() + self._timeout_s
        new = [Entry(record) for record in records]
        with self._list_lock:
            if len(self._entries) + len(new) > self._max_pending:
                raise PendingFull("too many records wait for the agent", code="PENDING_FULL", hint="keep it yourself")
            self._entries = [*self._entries, *new]
        with Held(self._lock, deadline_s) as held:
            if held:
                self._send_all(deadline_s, frozenset(new))
        for entry in new:
            if entry.outcome is None:
                busy = AgentSilent("the agent is busy with another call of this program", code="NO_ANSWER")
                entry.problem = entry.problem or busy
                entry.problem.durable = self._keep(entry)
        return [entry.outcome or entry.problem for entry in new]  # type: ignore[misc]  # one of them is there

    def retry(self) -> int:
        """Send what waits, in at most the timeout; returns how many still do."""
        deadline_s = time.monotonic() + self._timeout_s
        with Held(self._lock, deadline_s) as held:
            if held and self._entries:
                self._send_all(deadline_s, frozenset())
        return len(self._entries)

    def _keep(self, entry: Entry) -> bool:
        """In the spool, if there is one that takes it."""
        if self._spool is None:
            return False
        with self._list_lock:
            if entry.number is not None or entry not in self._entries:
                return True  # another thread's call has just brought it through
            number, self._next_number = self._next_number, self._next_number + 1
            try:
                self._spool.keep(number, entry.record)
            except OSError:
                return False
            entry.number = number
        return True

    # ── sending; the lock is held ──────────────────────────────────────────────────────────────────────────────
    def _send_all(self, deadline_s: float, new: FrozenSet[Entry]) -> None:
        """Send everything that waits, in order, as far as time allows; take out what has its final answer."""
        waiting = list(self._entries)
        try:
            while waiting:
                batch, waiting = _batch(waiting)
                self._send(batch, deadline_s)
        except NoAnswer as err:
            self._mark(str(err))
        except Answered as err:
            facts = Facts(err.error)
            for entry in self._unmarked():
                entry.problem = facts.as_kept(at_the_door=err.at_the_door)
        with self._list_lock:
            settled = [entry for entry in self._entries if entry.outcome is not None]
            self._entries = [entry for entry in self._entries if entry.outcome is None]
            if self._spool is not None and settled:
                self._spool.settle([entry.number for entry in settled if entry.number is not None])
        for entry in settled:
            if entry not in new and entry.outcome is not None and self._on_settled is not None:
                self._on_settled(entry.record, entry.outcome)

    def _mark(self, why: str) -> None:
        for entry in self._unmarked():
            entry.problem = AgentSilent(why, code="NO_ANSWER", hint="go on selling; it is sent again")

    def _unmarked(self) -> List[Entry]:
        return [entry for entry in self._entries if entry.outcome is None and entry.problem is None]

    def _send(self, batch: List[Entry], deadline_s: float) -> None:
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
        for entry, result in zip(batch, results):  # as many of both: `_call_many` has counted them
            self._settle(entry, result)

    def _call_many(self, batch: List[Entry], deadline_s: float) -> List[Any]:
        params = b'{"records":[%b]}' % b",".join(entry.text for entry in batch)
        answer = self._connection.call("transaction.record_many", params, deadline_s)
        results = answer.get("results") if isinstance(answer, dict) else None
        if not isinstance(results, list) or len(results) != len(batch):
            raise NoAnswer("what answers at the socket is not the agent")
        return results

    def _settle(self, entry: Entry, result: Any) -> None:
        error = result.get("error") if isinstance(result, dict) else None
        if isinstance(error, dict):
            facts = Facts(error)
            if facts.code in FINAL:
                entry.outcome = facts.as_refusal()
            else:
                entry.problem = facts.as_kept(at_the_door=False)
        elif isinstance(result, dict) and isinstance(result.get("sequence"), int):
            entry.outcome = Recorded(result["sequence"], bool(result.get("duplicate")))
        else:
            raise NoAnswer("what answers at the socket is not the agent")


def _batch(waiting: List[Entry]) -> Tuple[List[Entry], List[Entry]]:
    """As many of the first as one call takes, at least one; and the rest."""
    size = count = 0
    for entry in waiting[:_RECORDS_A_CALL]:
        size += len(entry.text) + 1
        if count and size > _ROOM_BYTES:
            break
        count += 1
    return waiting[:count], waiting[count:]
