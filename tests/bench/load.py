"""A closed-loop load of sales on payment.sock: each client sends its next record when the last one was acknowledged.

One process, one epoll loop, records built beforehand: it must cost less than the server it measures.
Run as a program it prints one JSON line: ``{"acks", "seconds", "p50_ms", "p99_ms"}``.
"""

from __future__ import annotations

import json
import select
import socket
import statistics
import sys
import time
import uuid
from dataclasses import dataclass, field

from agent.runtime.identifiers import uuid7


@dataclass
class _Client:
    sock: socket.socket
    sent_at: float = 0.0
    waits_s: list[float] = field(default_factory=list)


def _records(count: int, seed: str) -> list[bytes]:
    """``count`` requests that differ in id, STAN, batch and amount, as bytes with their newline."""
    made = []
    for number in range(count):
        record = {
            "transaction_id": uuid7(),  # as recommended to payment applications
            "state": "approved",
            "type": "sale",
            "provider": "acquirer-a",
            "mid": "104110058120001",
            "tid": "00010001",
            "amount_minor": 100 + number % 9000,
            "currency": "156",
            "stan": f"{number % 999999 + 1:06d}",
            "batch_no": f"{(int(seed, 16) + number // 999999) % 999999:06d}",
            "local_at": f"2026-11-21T10:{number // 60 % 60:02d}:{number % 60:02d}+08:00",
            "rrn": f"{number:012d}",
            "response_code": "00",
            "masked_pan": "621234******5678",
            "scheme": "unionpay",
        }
        request = {"jsonrpc": "2.0", "id": number, "method": "transaction.record", "params": record}
        made.append(json.dumps(request, separators=(",", ":")).encode() + b"\n")
    return made


def request_bytes() -> float:
    """Bytes of an average record as it is sent, without what JSON-RPC puts around it."""
    made = [json.dumps(json.loads(line)["params"], separators=(",", ":")) for line in _records(100, "0")]
    return statistics.mean(len(one) for one in made)


def run(path: str, clients: int, seconds: float, records: int) -> dict[str, float]:
    """Drive ``clients`` connections for ``seconds``; stops early when the prepared records are used up."""
    requests = _records(records, uuid.uuid4().hex[:5])
    requests.reverse()
    poll = select.epoll()
    by_descriptor: dict[int, _Client] = {}
    for _ in range(clients):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(path)
        by_descriptor[sock.fileno()] = _Client(sock)
        poll.register(sock.fileno(), select.EPOLLIN)
    now = time.perf_counter
    started = now()
    ends = started + seconds
    for client in by_descriptor.values():
        client.sent_at = now()
        client.sock.sendall(requests.pop())
    open_requests, acks = clients, 0
    while open_requests:
        for descriptor, _events in poll.poll(5):
            client = by_descriptor[descriptor]
            answer = client.sock.recv(65536)
            at = now()
            if b'"sequence"' not in answer or not answer.endswith(b"\n"):
                raise SystemExit(f"not an acknowledgement: {answer!r}")
            client.waits_s.append(at - client.sent_at)
            acks += 1
            if at < ends and requests:
                client.sent_at = at
                client.sock.sendall(requests.pop())
            else:
                open_requests -= 1
    took_s = now() - started
    waits = sorted(wait for client in by_descriptor.values() for wait in client.waits_s)
    for client in by_descriptor.values():
        client.sock.close()
    return {
        "acks": acks,
        "seconds": took_s,
        "p50_ms": statistics.median(waits) * 1000,
        "p99_ms": waits[int(len(waits) * 0.99)] * 1000,
    }


if __name__ == "__main__":
    _path, _clients, _seconds, _count = sys.argv[1:5]
    print(json.dumps(run(_path, int(_clients), float(_seconds), int(_count))))
