"""What payment applications may say and ask of sales on payment.sock: leases, their own status, the terminal's state.

A lease is granted or refused in the very call in which its frame is handled, as an operation begins in one turn of the
loop: neither can slip in between. The owner is the peer's process by the kernel's word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.contract import rpc
from agent.contract.calls import (
    LeaseResult,
    RunningOperation,
    SaleBeginParams,
    SaleEndParams,
    SaleRenewParams,
    TerminalState,
)
from agent.contract.health import Readiness
from agent.contract.rpc import Nothing
from agent.contract.selling import AppStatus
from agent.local_api.peer import PAYMENT, Caller
from agent.local_api.server import Method
from agent.selling.selling import Sales

_DONE = Nothing()


class SaleMethods:
    """``sale.…``, ``app.status`` and ``terminal.state`` over the room that keeps leases."""

    def __init__(self, sales: Sales, readiness: Callable[[], Readiness]) -> None:
        self._sales = sales
        self._readiness = readiness

    def table(self) -> dict[str, Method]:
        """Every method by its name."""
        return {
            "sale.begin": Method(self._begin, PAYMENT),
            "sale.renew": Method(self._renew, PAYMENT),
            "sale.end": Method(self._end, PAYMENT),
            "app.status": Method(self._status, PAYMENT),
            "terminal.state": Method(self._state, PAYMENT),
        }

    def _begin(self, params: Mapping[str, object], caller: Caller) -> LeaseResult:
        wanted = rpc.decode_params(params, SaleBeginParams)
        lease = self._sales.begin(caller.process, wanted.purpose, wanted.lease_s)
        return LeaseResult(lease.lease_id, wanted.lease_s)

    def _renew(self, params: Mapping[str, object], caller: Caller) -> LeaseResult:
        wanted = rpc.decode_params(params, SaleRenewParams)
        lease = self._sales.renew(caller.process, wanted.lease_id, wanted.lease_s)
        return LeaseResult(lease.lease_id, wanted.lease_s)

    def _end(self, params: Mapping[str, object], caller: Caller) -> Nothing:
        self._sales.end(caller.process, rpc.decode_params(params, SaleEndParams).lease_id)
        return _DONE

    def _status(self, params: Mapping[str, object], caller: Caller) -> Nothing:
        self._sales.status(caller.process, rpc.decode_params(params, AppStatus))
        return _DONE

    def _state(self, params: Mapping[str, object], _caller: Caller) -> TerminalState:
        rpc.decode_params(params, Nothing)
        lock, operation, readiness = self._sales.lock(), self._sales.operation(), self._readiness()
        return TerminalState(
            locked=lock is not None,
            lock_reason=lock.reason if lock else None,
            operation=RunningOperation(operation.command_id, operation.name, operation.retry_after_s)
            if operation
            else None,
            ready=readiness.ready,
            reasons=readiness.reasons,
        )
