"""A peer that means ill, as a program: ``python -m tests.kit.socket_attacker KIND SOCKET``; works until it is killed.

It says ``at work`` once its first blow has landed. Losing its connections is what it must expect; it makes new ones.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable

PEERS = 50
STATUS = {"ready": True, "signed_in": True, "batch_no": None, "unknown_results": 0, "saf_count": 0}


def connect(path: str) -> socket.socket:
    while True:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            peer.connect(path)
        except OSError:  # its queue is full for a moment
            peer.close()
            time.sleep(0.01)
        else:
            return peer


def request(method: str, params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n"


def flood(path: str, blow: bytes, *, reads: bool) -> None:
    """The same again and again from many connections at once."""
    peers = [connect(path) for _ in range(PEERS)]
    for peer in peers:
        peer.setblocking(False)
    told = False
    while True:
        for number, peer in enumerate(peers):
            try:
                peer.send(blow)
                if reads:
                    peer.recv(1 << 20)
            except BlockingIOError:
                pass
            except OSError:
                peer.close()
                peers[number] = connect(path)
                peers[number].setblocking(False)
        if not told:
            told = say()
        if not reads:
            time.sleep(0.001)


def say() -> bool:
    print("at work", flush=True)
    return True


def half_frames(path: str) -> None:
    """Half a line from as many peers as may come, and a little more of it from time to time."""
    peers = [connect(path) for _ in range(800)]
    say()
    while True:
        for number, peer in enumerate(peers):
            try:
                peer.send(b'{"jsonrpc":"2.0",' + b" " * 8000, socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass
            except OSError:
                peer.close()
                peers[number] = connect(path)
        time.sleep(0.01)


def vanish(path: str) -> None:
    """In and out, with and without a word."""
    told = False
    while True:
        for number in range(20):
            peer = connect(path)
            if number % 2:
                peer.send(request("terminal.state", {}))
            peer.close()
        told = told or say()


def begin_leases(path: str) -> None:
    flood(path, request("sale.begin", {"lease_s": 2, "purpose": "sale"}) * 20, reads=True)


def subscribe(path: str) -> None:
    flood(path, request("events.subscribe", {"kinds": ["lock", "operation", "health", "readiness"]}) * 20, reads=True)


def report(path: str) -> None:
    flood(path, request("app.status", {**STATUS, "pending_reversals": 0}) * 20, reads=True)


def busy(path: str) -> None:
    """No attacker, but a peer with much to ask that keeps to the rules: the measure of the others."""
    peers = [connect(path) for _ in range(PEERS)]
    told = False
    while True:
        for peer in peers:
            peer.sendall(request("terminal.state", {}))
        for peer in peers:
            while not peer.recv(1 << 20).endswith(b"\n"):
                pass
        told = told or say()


def rubbish(path: str) -> None:
    flood(path, b"\x00\xff{[" * 4096, reads=False)


def never_read(path: str) -> None:
    flood(path, request("terminal.state", {}) * 50, reads=False)


KINDS: dict[str, Callable[[str], None]] = {
    one.__name__: one for one in (half_frames, vanish, begin_leases, subscribe, report, rubbish, never_read, busy)
}

if __name__ == "__main__":
    KINDS[sys.argv[1]](sys.argv[2])
