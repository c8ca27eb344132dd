"""Payment applications that sell as fast as they are answered, and remember what was acknowledged and what was refused.

What a refused record's sender does is what the contract asks of it: it sends the same record again, a little later.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.demo import evidence

AGAIN_S = 0.05


def numbered_sale(number: int) -> dict[str, Any]:
    """An approved sale of the binding that `AgentProcess` configures."""
    return {
        "transaction_id": str(uuid.uuid4()),
        "state": "approved",
        "type": "sale",
        "provider": "acquirer-a",
        "mid": "104110058120001",
        "tid": "00010001",
        "amount_minor": 100 + number,
        "currency": "156",
        "stan": f"{number % 999999 + 1:06d}",
        "batch_no": f"{number // 999999 + 1:06d}",
        "local_at": "2026-11-21T10:00:00+08:00",
    }


class _Seller(threading.Thread):
    """Keeps some records in flight on one connection until the agent is gone or it is told to stop."""

    def __init__(self, path: Path, number: int, step: int, pipelined: int) -> None:
        super().__init__(daemon=True)
        self._path = path
        self._step = step
        self._pipelined = pipelined
        self.number = number
        self.stopping = False
        self.acknowledged: dict[str, int] = {}
        self.refused: Counter[str] = Counter()
        self.waits_s: list[float] = []

    def run(self) -> None:
        in_flight: dict[int, tuple[dict[str, Any], float]] = {}
        again: list[dict[str, Any]] = []
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(self._path))
            answers = sock.makefile("rb")
            while True:
                while len(in_flight) < self._pipelined and not self.stopping:
                    self.number += self._step
                    record = again.pop() if again else numbered_sale(self.number)
                    request = {"jsonrpc": "2.0", "id": self.number, "method": "transaction.record", "params": record}
                    in_flight[self.number] = record, time.monotonic()
                    sock.sendall(json.dumps(request).encode() + b"\n")
                if not in_flight:
                    return
                line = answers.readline()
                if not line.endswith(b"\n"):
                    return  # an answer cut short was not received: nothing was acknowledged by it
                answer = json.loads(line)
                record, sent_at = in_flight.pop(answer["id"])
                self.waits_s.append(time.monotonic() - sent_at)
                if "error" in answer:
                    self.refused[answer["error"]["data"]["code"]] += 1
                    again.append(record)
                    time.sleep(AGAIN_S)
                else:
                    self.acknowledged[record["transaction_id"]] = answer["result"]["sequence"]


class Sellers:
    """Several of them. ``with Sellers(path) as sellers:`` sells until its end; then ``acknowledged`` is complete.

    Args:
        path: ``payment.sock``.
        number: The first free number; the next one is ``number`` afterwards.
    """

    def __init__(self, path: Path, number: int = 1, *, clients: int = 4, pipelined: int = 8) -> None:
        self._first = number
        self._sellers = [_Seller(path, number + index, clients, pipelined) for index in range(clients)]

    def __enter__(self) -> Sellers:
        for seller in self._sellers:
            seller.start()
        return self

    def __exit__(self, *_: object) -> None:
        for seller in self._sellers:
            seller.stopping = True
        for seller in self._sellers:
            seller.join(60)
            assert not seller.is_alive(), "an answer never came"

    @property
    def number(self) -> int:
        return max(seller.number for seller in self._sellers) + len(self._sellers)

    @property
    def count(self) -> int:
        """Of acknowledgements so far."""
        return sum(len(seller.acknowledged) for seller in self._sellers)

    @property
    def acknowledged(self) -> dict[str, int]:
        """transaction_id → sequence."""
        return {one: sequence for seller in self._sellers for one, sequence in list(seller.acknowledged.items())}

    @property
    def refused(self) -> Counter[str]:
        """Error codes."""
        return sum((seller.refused for seller in self._sellers), Counter())

    @property
    def waits_s(self) -> list[float]:
        """From sending to the answer, of whatever kind."""
        return [wait for seller in self._sellers for wait in list(seller.waits_s)]

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
        """Go on selling until ``condition`` holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}; refused: {dict(self.refused)}"
            time.sleep(0.002)

    def sell(self, count: int, timeout_s: float = 30.0) -> None:
        """Go on until so many more were acknowledged."""
        enough = self.count + count
        self.until(lambda: self.count >= enough, f"{count} more acknowledgements", timeout_s)


def check_survival(database: Path, acknowledged: dict[str, int], what: str) -> int:
    """Every acknowledged record is there under its own sequence, the chain has no break; prints and gives how many."""
    stored = {entry.transaction_id: entry.sequence for entry in evidence.entries(database)}
    length = evidence.check_chain(database)
    survived = sum(stored.get(one) == sequence for one, sequence in acknowledged.items())
    print(f"\n{what}: {len(acknowledged)} acknowledged, {survived} survived, {length} entries, chain intact")
    assert survived == len(acknowledged)
    assert len(set(acknowledged.values())) == len(acknowledged)
    return survived
