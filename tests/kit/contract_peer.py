"""A stranger at the agent's sockets: raw bytes, answers as JSON, and records as the contract words them.

For the walks along the contract's words (``tests/walks/test_contract_*.py``). Nothing of the agent is imported: what
the agent says is compared with what is written here, and the chain is computed here once more.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

PROVIDER, MID, TID = "acquirer-a", "104110058120001", "00010001"
BAD_JSON, BAD_REQUEST, NO_METHOD, BAD_PARAMS, OF_THE_AGENT = -32700, -32600, -32601, -32602, -32000
_NUMBERS = count(1)


class Peer:
    """One connection; every wait ends after ``timeout_s``."""

    def __init__(self, path: Path, timeout_s: float = 10.0) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout_s)
        self.sock.connect(str(path))
        self._received = b""

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.sock.sendall(data)

    def line(self) -> bytes:
        r"""The next answer without its ``\n``; empty once the agent has closed the connection."""
        while b"\n" not in self._received:
            try:
                part = self.sock.recv(1 << 20)
            except ConnectionResetError:
                part = b""
            if not part:
                return b""
            self._received += part
        line, self._received = self._received.split(b"\n", 1)
        return line

    def answer(self) -> dict[str, Any]:
        """The next answer, which must come and have the form of JSON-RPC 2.0."""
        line = self.line()
        assert line, "the connection was closed"
        answer: dict[str, Any] = json.loads(line.decode())
        assert answer["jsonrpc"] == "2.0"
        assert set(answer) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"}), answer
        return answer

    def frame(self, data: bytes) -> dict[str, Any]:
        r"""Send one frame (``\n`` is added); its answer."""
        self.send(data + b"\n")
        return self.answer()

    def call(self, method: str, params: Any = None, **more: Any) -> dict[str, Any]:
        """One call; the whole answer, whose id is the call's."""
        request = request_of(method, params, **more)
        answer = self.frame(request)
        assert answer["id"] == json.loads(request)["id"], answer
        return answer

    def ask(self, method: str, **params: Any) -> Any:
        """One call that must succeed; its result."""
        answer = self.call(method, params)
        assert "result" in answer, answer
        return answer["result"]

    def refused(self, method: str, params: Any = None) -> dict[str, Any]:
        """One call that must be refused; its error."""
        answer = self.call(method, params)
        assert "error" in answer, answer
        error: dict[str, Any] = answer["error"]
        assert isinstance(error["code"], int), error
        assert isinstance(error["message"], str), error
        return error

    def record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Record it; the result."""
        answer = self.call("transaction.record", record)
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def record_fails(self, record: Mapping[str, Any], code: str, number: int = OF_THE_AGENT) -> dict[str, Any]:
        """Record what must be refused with ``code``; its ``data``."""
        error = self.refused("transaction.record", record)
        assert (error["code"], error["data"]["code"]) == (number, code), error
        data: dict[str, Any] = error["data"]
        return data

    def get(self, transaction_id: str) -> dict[str, Any]:
        """``transaction.get``."""
        view: dict[str, Any] = self.ask("transaction.get", transaction_id=transaction_id)
        assert set(view) == {"current", "history", "copies"}, view
        return view

    def pages(self, method: str, limit: int = 50, **params: Any) -> Iterator[list[dict[str, Any]]]:
        """All pages of a list."""
        cursor: dict[str, Any] = {}
        while True:
            page = self.ask(method, limit=limit, **cursor, **params)
            assert set(page) == {"items", "next_cursor"}, page
            assert len(page["items"]) <= limit
            yield page["items"]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    def everything(self, method: str, limit: int = 50, **params: Any) -> list[dict[str, Any]]:
        """All items of a list, over all its pages."""
        return [item for page in self.pages(method, limit, **params) for item in page]


def request_of(method: str, params: Any = None, **more: Any) -> bytes:
    r"""A request without its ``\n``."""
    request = {"jsonrpc": "2.0", "id": next(_NUMBERS), "method": method, "params": {} if params is None else params}
    return json.dumps({**request, **more}).encode()


def padded(request: bytes, size: int) -> bytes:
    """The same request with white space inside, ``size`` bytes long."""
    assert request.startswith(b"{")
    return b"{" + b" " * (size - len(request)) + request[1:]


def fresh_stan() -> str:
    """Six digits nobody had before in this process."""
    return f"{next(_NUMBERS):06d}"


def sale(**changes: Any) -> dict[str, Any]:
    """An approved sale with an id and STAN of its own; ``None`` takes a field out."""
    record: dict[str, Any] = {
        "transaction_id": str(uuid.uuid4()),
        "state": "approved",
        "type": "sale",
        "provider": PROVIDER,
        "mid": MID,
        "tid": TID,
        "amount_minor": 12800,
        "currency": "156",
        "stan": fresh_stan(),
        "batch_no": "000001",
        "local_at": "2026-11-21T10:00:00+08:00",
    }
    record.update(changes)
    return {name: value for name, value in record.items() if value is not None}


def record_of(kind: str, **changes: Any) -> dict[str, Any]:
    """A record of type ``kind`` with exactly the fields its type requires."""
    original = {"original": {"transaction_id": str(uuid.uuid4())}}
    total = {"currency": "156", "debit_count": 1, "debit_minor": 12800, "credit_count": 0, "credit_minor": 0}
    without: dict[str, Any] = dict.fromkeys(("amount_minor", "currency", "stan", "batch_no"))
    by_type: dict[str, dict[str, Any]] = {
        "balance_inquiry": {"amount_minor": None},
        **dict.fromkeys(("sale_void", "pre_auth_void", "completion_void", "refund", "tip", "adjustment"), original),
        "qr_sale": {"stan": None, "batch_no": None, "merchant_order_no": f"order-{fresh_stan()}"},
        "qr_refund": {"stan": None, "batch_no": None, "merchant_order_no": f"order-{fresh_stan()}", **original},
        "sign_in": without,
        "sign_out": without,
        "settlement": {**without, "batch_no": "000001", "totals": [total], "balanced": True},
    }
    return sale(**{"type": kind, **by_type.get(kind, {}), **changes})


def canonical(value: Any) -> bytes:
    """RFC 8785 for what a record may hold: names are ASCII, numbers are integers."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def chain_after(previous: bytes, sequence: int, record: Mapping[str, Any]) -> bytes:
    """The chain's hash with one more entry."""
    content = hashlib.sha256(canonical(record)).digest()
    return hashlib.sha256(previous + sequence.to_bytes(8, "big") + content).digest()


def chain_start(journal_id: str) -> bytes:
    """The hash before the first entry."""
    return hashlib.sha256(bytes(32) + journal_id.encode("ascii")).digest()


def text_of(value: Any) -> str:
    """All of an answer as text, to look for what must not be in it."""
    return json.dumps(value, ensure_ascii=False)


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 15.0) -> None:
    """Return once ``condition`` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


def luhn(digits: str) -> str:
    """The digits with a last one that makes the Luhn sum right."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * 2 if place % 2 == 0 else int(digit)
        total += doubled - 9 if doubled > 9 else doubled
    return digits + str(-total % 10)


def is_root() -> bool:
    """Whether file modes do not hold for this process."""
    return os.geteuid() == 0


def ids(cases: Sequence[Any]) -> list[str]:
    """Test names by number, so that no odd text gets into a test's name."""
    return [str(number) for number, _ in enumerate(cases)]
