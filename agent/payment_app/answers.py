"""What an error answer of the agent means for a payment application."""

from __future__ import annotations

from typing import Any, Final, Mapping, Optional

from agent.payment_app.errors import (
    AgentSilent,
    LeaseUnknown,
    NotAuthorised,
    OperationRunning,
    PaymentError,
    RecordKept,
    RecordNotStored,
    RecordRefused,
    TerminalLocked,
    TransactionUnknown,
)

FINAL: Final = frozenset(
    {"TXN_CONFLICT", "INVALID_TRANSITION", "BAD_PARAMS", "CARD_DATA_REJECTED", "PARSE_ERROR", "INVALID_REQUEST"}
)
"""``data.code`` of a record that is never sent again as it is. Everything else is tried again later."""

_DEFAULT_WAIT_S: Final = 1.0


class Facts:
    """The ``error`` member of an answer."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        data = error.get("data")
        self._data: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        self.code = str(self._data.get("code") or error.get("code", "UNKNOWN"))
        self.message = str(error.get("message", "refused"))
        self.field: Optional[str] = self._data.get("field")
        self.hint: Optional[str] = self._data.get("hint")

    def as_refusal(self) -> RecordRefused:
        """Of a record: final."""
        rule, sequence = self._data.get("rule"), self._data.get("sequence")
        return RecordRefused(
            self.message, code=self.code, field=self.field, hint=self.hint, rule=rule, sequence=sequence
        )

    def as_kept(self, *, at_the_door: bool) -> RecordKept:
        """Of a record: it is tried again. ``at_the_door``: the answer belonged to no request."""
        if self.code == "NOT_AUTHORISED":
            return NotAuthorised(self.message, code=self.code, hint=self.hint)
        kind = AgentSilent if at_the_door else RecordNotStored
        return kind(self.message, code=self.code, hint=self.hint)

    def as_error(self) -> PaymentError:
        """Of any other call."""
        kinds = {
            "NOT_AUTHORISED": NotAuthorised,
            "NOT_FOUND": TransactionUnknown,
            "TERMINAL_LOCKED": TerminalLocked,
            "LEASE_UNKNOWN": LeaseUnknown,
        }
        if self.code == "OPERATION_RUNNING":
            wait_s = self._data.get("retry_after_s")
            usable = wait_s if isinstance(wait_s, (int, float)) and wait_s > 0 else _DEFAULT_WAIT_S
            return OperationRunning(self.message, code=self.code, hint=self.hint, retry_after_s=float(usable))
        kind = kinds.get(self.code, PaymentError)
        return kind(self.message, code=self.code, field=self.field, hint=self.hint)
