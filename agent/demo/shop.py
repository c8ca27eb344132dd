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

    def __init__(self, socket: Path, provider: str, mid: str, tid: str) -> None:
        self._client = PaymentClient(socket, timeout_s=5.0)
        self._who = {"provider": provider, "mid": mid, "tid": tid}
        self._numbers: Iterator[int] = itertools.count(1)
        self.acknowledged: list[tuple[str, int]] = []

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
            "stan": f"{number:06d}",
            "batch_no": "000001",
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
        sequence = self._client.record(record).sequence
        self.acknowledged.append((record["transaction_id"], sequence))
        return sequence

    def close(self) -> None:
        self._client.close()
