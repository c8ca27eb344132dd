"""A lease around a sale: begun before it, renewed while it lasts, ended after it. A silent agent stops no sale."""

from __future__ import annotations

import threading
import time
from typing import Any, Optional  # this folder is copied into older programs

from agent.payment_app.calls import Calls
from agent.payment_app.errors import AgentSilent, LeaseUnknown, OperationRunning, PaymentError

RENEWALS_A_LEASE = 3


class Lease:
    """A context manager. ``held``: the agent has granted it and no operation can begin.

    Without an answer from the agent (``held`` is False) the sale goes on all the same: that is the contract's rule. It
    is tried again at each renewal. A terminal that is locked or being worked on refuses, before the sale begins.
    """

    def __init__(self, calls: Calls, purpose: str, lease_s: int, wait_s: float) -> None:
        self._calls = calls
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
            PaymentError: Refused for another reason (`NotAuthorised`, a wrong purpose).
        """
        deadline_s = time.monotonic() + self._wait_s
        while True:
            try:
                self._begin()
                break
            except AgentSilent:
                break
            except OperationRunning as err:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise
                time.sleep(min(err.retry_after_s, left_s))
        self._renewer = threading.Thread(target=self._renew_and_end, name="pos-agent lease", daemon=True)
        self._renewer.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it; takes at most as long as one call."""
        self._over.set()
        if self._renewer is not None:
            self._renewer.join(self._calls.timeout_s)

    def _begin(self) -> None:
        answer: Any = self._calls.call("sale.begin", lease_s=self._lease_s, purpose=self._purpose)
        self._lease_id = str(answer["lease_id"])

    def _renew_and_end(self) -> None:
        while not self._over.wait(self._lease_s / RENEWALS_A_LEASE):
            try:
                if self._lease_id is None:
                    self._begin()
                else:
                    self._calls.call("sale.renew", lease_id=self._lease_id, lease_s=self._lease_s)
            except LeaseUnknown:  # the agent was restarted: the sale is still under way
                self._lease_id = None
                self._begin_again()
            except PaymentError:
                pass  # silent, or an operation runs: tried again at the next renewal

        lease_id, self._lease_id = self._lease_id, None
        if lease_id is not None:
            try:
                self._calls.call("sale.end", lease_id=lease_id)
            except PaymentError:
                pass  # it ends by itself

    def _begin_again(self) -> None:
        try:
            self._begin()
        except PaymentError:
            pass
