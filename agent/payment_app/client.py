"""The client that payment applications take with them: hand records to pos-agent, never wait longer than agreed.

Standard library only; the folder can be copied into any application. In use::

    from agent.payment_app.client import FileSpool, PaymentClient, RecordKept, RecordRefused, Status

    client = PaymentClient("/run/pos-agent/payment.sock", spool=FileSpool("/var/lib/shop/records"))
    with client.report_status(lambda: Status(ready=True, signed_in=True, batch_no="000042")):
        with client.sale():                      # no reset, update or reboot begins in here
            try:
                stored = client.record({"transaction_id": "0192f6d0-7c1e-7000-8000-000000000001", ...})
                print("durable on this terminal, sequence", stored.sequence)
            except RecordKept:                   # silent, full, or not allowed: the sale goes on
                pass                             # sent again, in order, with the next call, report or retry()
            except RecordRefused as err:         # final: sending it again as it is never helps
                my_own_log(err.code, err.field, err.hint)

Without a spool, what is kept is kept in memory only: an application that may lose power saves ``client.pending`` itself
and gives it back at its start. A record may be sent any number of times: the agent stores it once and answers its first
sequence. Records are sent in the order in which they were given. One object may be used by several threads.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Dict, Final, Iterable, List, Optional, Sequence, Set, Tuple, Union

from agent.payment_app.calls import Calls
from agent.payment_app.errors import (
    AgentSilent,
    LeaseUnknown,
    NotAuthorised,
    OperationRunning,
    PaymentError,
    PendingFull,
    RecordKept,
    RecordNotStored,
    RecordRefused,
    TerminalLocked,
    TransactionUnknown,
)
from agent.payment_app.events import KINDS, Event, Events
from agent.payment_app.leases import Lease
from agent.payment_app.records import Outcome, Record, Recorded, Records
from agent.payment_app.spool import FileSpool, Spool
from agent.payment_app.status import EVERY_S, Status, StatusReports, send

__all__ = [
    "AgentSilent",
    "Event",
    "Events",
    "FileSpool",
    "Lease",
    "LeaseUnknown",
    "NotAuthorised",
    "OperationRunning",
    "PaymentClient",
    "PaymentError",
    "PendingFull",
    "RecordKept",
    "RecordNotStored",
    "RecordRefused",
    "Recorded",
    "Spool",
    "Status",
    "StatusReports",
    "TerminalLocked",
    "TransactionUnknown",
]

DEFAULT_TIMEOUT_S: Final = 0.5
DEFAULT_LEASE_S: Final = 60
MAX_PENDING: Final = 10_000


class PaymentClient:
    """See the module. Connects by itself, now and after every restart of the agent."""

    def __init__(
        self,
        path: Union[str, "os.PathLike[str]"],
        timeout_s: float = DEFAULT_TIMEOUT_S,
        *,
        pending: Iterable[Record] = (),
        max_pending: int = MAX_PENDING,
        on_settled: Optional[Callable[[Record, Outcome], None]] = None,
        spool: Optional[Spool] = None,
    ) -> None:
        """
        Args:
            timeout_s: The longest that any call takes.
            pending: What ``pending`` held when it was saved last.
            max_pending: How many records are kept at most.
            on_settled: Told of each record that had to wait, when it has its final answer. It must not call back.
            spool: Where records wait that the agent did not acknowledge in time; what it holds is taken over.
        """
        self._path = path
        self._records = Records(
            path, timeout_s, pending=pending, max_pending=max_pending, on_settled=on_settled, spool=spool
        )
        self._calls = Calls(path, timeout_s)
        self._leases: Set[Lease] = set()

    def __enter__(self) -> PaymentClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both connections. ``pending`` stays; a further call connects again."""
        self._records.close()
        self._calls.close()

    # ── records ────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def pending(self) -> Tuple[Dict[str, Any], ...]:
        """Records without a final answer, oldest first: for the application to save, where there is no spool."""
        return self._records.pending

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

    def record_many(self, records: Sequence[Record]) -> List[Union[Recorded, RecordRefused, RecordKept]]:
        """The same for several at once; each stands for itself, and its outcome is in the same place.

        Raises:
            PendingFull: None of them is kept or was sent.
            TypeError, ValueError: One of them is no JSON; none was sent.
        """
        return self._records.offer(records)

    def retry(self) -> int:
        """Send what is pending, in at most the timeout; returns how many still wait. For a quiet moment."""
        return self._records.retry()

    def get(self, transaction_id: str) -> Dict[str, Any]:
        """What the journal holds of one transaction: ``current``, ``history``, ``copies``.

        Raises:
            TransactionUnknown, AgentSilent, PaymentError: Nothing is kept.
        """
        view: Dict[str, Any] = self._calls.call("transaction.get", transaction_id=transaction_id)
        return view

    # ── sales, status, the terminal ────────────────────────────────────────────────────────────────────────────
    def sale(self, lease_s: int = DEFAULT_LEASE_S, purpose: str = "sale", *, wait_s: float = 0.0) -> Lease:
        """A context manager around a sale, a reversal or a settlement: no operation begins while it lasts.

        Args:
            lease_s: 1 to 180: how long it lasts at most if this program dies. It is renewed by itself.
            purpose: ``sale``, ``reversal`` or ``settlement``.
            wait_s: While the terminal is being worked on, wait for so long before giving up.
        """
        return Lease(self._calls, purpose, lease_s, wait_s, self._leases)

    def status(self, status: Status) -> None:
        """Tell the agent of live leases, then how the application is; raises `AgentSilent`, `PaymentError`."""
        self._show_leases()
        send(self._calls, status)

    def report_status(
        self,
        status: Callable[[], Status],
        every_s: float = EVERY_S,
        on_problem: Optional[Callable[[Exception], None]] = None,
    ) -> StatusReports:
        """A context manager that tells it at intervals from a thread of its own, and then sends what is pending."""
        return StatusReports(self.status, status, every_s, and_then=self.retry, on_problem=on_problem)

    def _show_leases(self) -> None:
        """Before a status: by its first one a restarted agent concludes that nobody is in a sale, unless it is told."""
        for lease in tuple(self._leases):
            lease.show()

    def terminal_state(self) -> Dict[str, Any]:
        """``locked``, ``lock_reason``, ``operation``, ``ready``, ``reasons``; raises `AgentSilent`, `PaymentError`."""
        state: Dict[str, Any] = self._calls.call("terminal.state")
        return state

    def events(self, kinds: Sequence[str] = KINDS) -> Events:
        """An iterator over what changes, over all restarts of the agent; for a thread of its own."""
        return Events(self._path, kinds)
