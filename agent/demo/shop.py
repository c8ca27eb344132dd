"""A small payment application: it makes up sales and hands them over with the shipped client."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.payment_app.client import PaymentClient
from agent.runtime.identifiers import uuid7


class Shop:
    """Sells. ``acknowledged`` holds (transaction_id, sequence) of every record that the agent called durable."""

    def __init__(self, socket: Path, provider: str, mid: str, tid: str, *, batch_no: str = "000001") -> None:
        self.client = PaymentClient(socket, timeout_s=5.0)
        self.batch_no = batch_no
        self._who = {"provider": provider, "mid": mid, "tid": tid}
        self._numbers: Iterator[int] = itertools.count(1)
        self._unsettled: list[int] = []  # amounts of the present batch, in minor units
        self.acknowledged: list[tuple[str, int]] = []

    def go_on_from(self, batch_no: str, sold: int, unsettled: list[int]) -> None:
        """After a restart: so many sales were made before, and these amounts are not settled yet."""
        self.batch_no, self._numbers, self._unsettled = batch_no, itertools.count(sold + 1), list(unsettled)

    def next_record(self, **changes: Any) -> dict[str, Any]:
        """The next approved sale as contract and ISO 8583 word it, with ``changes`` laid over."""
        number = next(self._numbers)
        record = {
            "transaction_id": uuid7(),
            "state": "approved",
            "type": "sale",
            **self._who,
            "amount_minor": 1990 + 10 * (number % 50),
            "currency": "156",
            "stan": f"{number % 1_000_000:06d}",
            "batch_no": self.batch_no,
            "local_at": datetime.now().astimezone().isoformat(timespec="seconds"),
            "rrn": f"{number:012d}",
            "response_code": "00",
            "masked_pan": "621234******5678",
            "scheme": "unionpay",
        }
        return {**record, **changes}

    def sell(self, **changes: Any) -> int:
        """One sale, recorded; returns its sequence."""
        return self.record(self.next_record(**changes))

    def record(self, record: dict[str, Any]) -> int:
        """Hand over one record; returns its sequence once it is durable."""
        sequence = self.client.record(record).sequence
        self.acknowledged.append((record["transaction_id"], sequence))
        if record["type"] == "sale" and record["state"] == "approved":
            self._unsettled.append(record["amount_minor"])
        return sequence

    def settle(self) -> int:
        """Settle the batch, balanced; the next sales are of another batch. Returns the settlement's sequence."""
        debits = {"debit_count": len(self._unsettled), "debit_minor": sum(self._unsettled)}
        record = {
            "transaction_id": uuid7(),
            "state": "approved",
            "type": "settlement",
            **self._who,
            "batch_no": self.batch_no,
            "totals": [{"currency": "156", **debits, "credit_count": 0, "credit_minor": 0}],
            "balanced": True,
            "local_at": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        sequence = self.record(record)
        self.batch_no, self._unsettled = f"{int(self.batch_no) + 1:06d}", []
        return sequence

    def close(self) -> None:
        self.client.close()
