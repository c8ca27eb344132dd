"""A lease around a sale: begun before it, renewed while it lasts, ended after it. A silent agent stops no sale."""

from __future__ import annotations

import threading
import time
from typing import Any, Optional, Set  # this folder is copied into older programs

from agent.payment_app.calls import Calls
from agent.payment_app.errors import AgentSilent, LeaseUnknown, OperationRunning, PaymentError, TerminalLocked

RENEWALS_A_LEASE = 3


class Lease:
    """A context manager. ``held``: the agent has granted it and no operation can begin.

    Without an answer from the agent (``held`` is False) the sale goes on all the same: that is the contract's rule. So
    it does at a refusal that says nothing of this sale (`NotAuthorised`, too many leases). It is tried again at each
    renewal. A terminal that is locked or being worked on refuses, before the sale begins.
    """

    def __init__(
        self, calls: Calls, purpose: str, lease_s: int, wait_s: float, live: Optional[Set["Lease"]] = None
    ) -> None:
        """``live``: holds every lease from its beginning to its end."""
        self._calls = calls
        self._live: Set[Lease] = set() if live is None else live
        self._turn = threading.Lock()  # two threads may renew it, and one of them ends it
        self._purpose = purpose
        self._lease_s = lease_s
        self._wait_s = wait_s
        self._lease_id: Optional[str] = None
        self._over = threading.Event()
        self._renewer: Optional[threading.Thread] = None

    @property
    def held(self) -> bool:
        return self._lease_id is not None

    def __enter__(self) -> Lease:
        """Begin it, and renew it from a thread of its own.

        Raises:
            TerminalLocked, OperationRunning: No sale now; the latter once ``wait_s`` is over.
            PaymentError: A wrong purpose or duration.
        """
        deadline_s = time.monotonic() + self._wait_s
        while True:
            try:
                self._begin()
                break
            except OperationRunning as err:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise
                time.sleep(min(err.retry_after_s, left_s))
            except PaymentError as err:
                if isinstance(err, TerminalLocked) or err.code == "BAD_PARAMS":
                    raise
                break  # silent, not for us, too many leases: no word about this sale
        self._live.add(self)
        self._renewer = threading.Thread(target=self._renew_and_end, name="pos-agent lease", daemon=True)
        self._renewer.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it; takes at most as long as one call."""
        self._over.set()
        if self._renewer is not None:
            self._renewer.join(self._calls.timeout_s)

    def show(self) -> None:
        """Have the agent know of it, whatever it knew before; for whoever is about to say how the application is.

        An agent that was restarted knows nothing of leases, and takes the first status for the word that no sale is
        under way.

        Raises:
            AgentSilent: It cannot be told now.
        """
        with self._turn:
            if not self._over.is_set():
                self._renew()

    def _begin(self) -> None:
        answer: Any = self._calls.call("sale.begin", lease_s=self._lease_s, purpose=self._purpose)
        self._lease_id = str(answer["lease_id"])

    def _renew_and_end(self) -> None:
        while not self._over.wait(self._lease_s / RENEWALS_A_LEASE):
            with self._turn:
                try:
                    self._renew()
                except AgentSilent:
                    pass  # tried again at the next renewal
        with self._turn:
            lease_id, self._lease_id = self._lease_id, None
            if lease_id is not None:
                try:
                    self._calls.call("sale.end", lease_id=lease_id)
                except PaymentError:
                    pass  # it ends by itself
        self._live.discard(self)

    def _renew(self) -> None:
        try:
            if self._lease_id is None:
                self._begin()
            else:
                self._calls.call("sale.renew", lease_id=self._lease_id, lease_s=self._lease_s)
        except LeaseUnknown:  # the agent was restarted: the sale is still under way
            self._lease_id = None
            self._begin_again()
        except AgentSilent:
            raise
        except PaymentError:
            pass  # an operation runs, or the socket is not for us: tried again at the next renewal

    def _begin_again(self) -> None:
        try:
            self._begin()
        except AgentSilent:
            raise
        except PaymentError:
            pass
