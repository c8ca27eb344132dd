"""A thousand terminals in one process: real MQTT 5 connections, a journal each, the upload's window, and its acks.

A cheap client of its own, because a library's would cost more than the collector it is there to load. It shares no
code with the product: records, chain and envelopes are made and read from the contract. What each terminal ever wrote
is its list of hashes; what a collector holds is compared with it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
import uuid
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

ACK_TYPE: Final = b"application/vnd.pos-agent.ack.v1+json"
_CONNACK, _PUBLISH, _PUBACK, _SUBACK = 0x20, 0x30, 0x40, 0x90
_RECONNECT_S: Final = 0.3
_RECORD: Final = (
    '{"amount_minor":%d,"auth_code":"A%05d","batch_no":"%06d","channel":"card","currency":"156",'
    '"local_at":"2026-11-21T10:00:00+08:00","masked_pan":"622202******1234","merchant_order_no":"ORD-%s-%d",'
    '"mid":"898110012345678","mti":"0210","pos_entry_mode":"051","processing_code":"000000","provider":"acme",'
    '"receipt_no":"%06d","response_code":"00","rrn":"%012d","scheme":"unionpay","stan":"%06d","state":"approved",'
    '"tid":"12345678","transaction_id":"%s","type":"sale"}'
)
BINDING: Final = {"provider": "acme", "mid": "898110012345678", "tid": "12345678"}


class Book:
    """One terminal's journal: record and hash of every entry that it ever wrote.

    Args:
        shop: Stands in every order number: two books with other ones have other records.
        parent: The journal that this one continues, as after a restore, up to its entry ``base``.
    """

    def __init__(
        self,
        terminal: str,
        journal_id: str | None = None,
        *,
        shop: str | None = None,
        parent: Book | None = None,
        base: int = 0,
    ) -> None:
        self.terminal = terminal
        self.journal_id = journal_id or str(uuid.uuid5(uuid.NAMESPACE_URL, terminal))
        self._shop, self._parent, self._base = shop or terminal, parent, base
        self.hashes = [sha256(bytes(32) + self.journal_id.encode()).digest()]
        """By sequence; the first one is the genesis."""
        if parent is not None:
            self.hashes = parent.hashes[: base + 1]

    def __len__(self) -> int:
        return len(self.hashes) - 1

    def record(self, sequence: int) -> str:
        """Always the same for the same sequence, in RFC 8785 form."""
        if self._parent is not None and sequence <= self._base:
            return self._parent.record(sequence)
        number = sequence % 1_000_000
        transaction = f"{sequence:08x}-0000-7000-8000-{sha256(self.terminal.encode()).hexdigest()[:12]}"
        return _RECORD % (
            *(sequence * 7 % 100_000, sequence % 100_000, sequence // 500 % 1_000_000, self._shop, number),
            *(number, sequence, number, transaction),
        )

    def write(self, count: int) -> None:
        """Append entries."""
        for sequence in range(len(self.hashes), len(self.hashes) + count):
            digest = sha256(self.record(sequence).encode()).digest()
            self.hashes.append(sha256(self.hashes[-1] + sequence.to_bytes(8, "big") + digest).digest())

    def message(self, first: int, last: int) -> bytes:
        """``agent/txn`` with these entries, both included."""
        entries = ",".join(
            f'{{"seq":{sequence},"at":"2026-11-21T02:00:00.000Z","record":{self.record(sequence)},'
            f'"hash":"{self.hashes[sequence].hex()}"}}'
            for sequence in range(first, last + 1)
        )
        return f'{{"journal_id":"{self.journal_id}","from_seq":{first},"entries":[{entries}]}}'.encode()

    def birth(self, site: str) -> bytes:
        """``agent/birth``, as much of it as a collector reads, and some more."""
        return json.dumps(
            {
                **{"site": site, "terminal": self.terminal, "serial": f"SN-{self.terminal}", "bindings": [BINDING]},
                **{"journal_id": self.journal_id, "version": "9.9.9", "later": True},
            }
        ).encode()


def open_ack(envelope: bytes, key: VerifyKey | None) -> dict[str, Any]:
    """The payload of an ack. Raises BadSignatureError, ValueError, KeyError."""
    outer = json.loads(envelope)
    payload = base64.b64decode(outer["payload"])
    if outer["payloadType"].encode() != ACK_TYPE:
        raise ValueError(outer["payloadType"])
    if key is not None:
        signed = b"DSSEv1 %d %b %d %b" % (len(ACK_TYPE), ACK_TYPE, len(payload), payload)
        key.verify(signed, base64.b64decode(outer["signatures"][0]["sig"]))
    found: dict[str, Any] = json.loads(payload)
    return found


class Terminal(asyncio.Protocol):
    """One connection and its state; ``delivered`` is what a collector has signed for."""

    def __init__(self, swarm: Swarm, book: Book) -> None:
        self.swarm, self.book = swarm, book
        self.delivered = 0
        self.wrong_acks: list[dict[str, Any]] = []
        self.acks = 0
        self._topic = _text(f"pos/v1/{swarm.site}/{book.terminal}/agent/txn")
        self._next = 1
        self._ends: list[int] = []  # last sequence of each message that is not acknowledged
        self._probing = False
        self._heard_at = 0.0
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._packet_id = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer.clear()
        properties = b"\x11" + struct.pack(">I", 3600)
        body = _text("MQTT") + b"\x05\x00" + struct.pack(">H", 0) + bytes([len(properties)]) + properties
        transport.write(_packet(0x10, body + _text(self.book.terminal)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.swarm.lost(self)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at = 0
        while True:
            size = _packet_size(buffer, at)
            if size is None or at + size[0] + size[1] > len(buffer):
                break
            begin = at + size[0]
            self._packet(buffer[at], bytes(buffer[begin : begin + size[1]]))
            at = begin + size[1]
        del buffer[:at]

    def _packet(self, kind: int, body: bytes) -> None:
        transport = self._transport
        assert transport is not None
        if kind == _CONNACK:
            below = f"pos/v1/{self.swarm.site}/{self.book.terminal}/"
            transport.write(_packet(0x82, b"\x00\x01\x00" + _text(below + "in/ack/#") + b"\x01"))
            transport.write(
                _packet(0x33, _text(below + "agent/birth") + b"\x00\x02\x00" + self.book.birth(self.swarm.site))
            )
        elif kind == _SUBACK:
            self._again()
            self.swarm.up += 1
        elif kind & 0xF0 == _PUBLISH:
            length = int.from_bytes(body[:2], "big")
            begin = 2 + length
            if kind & 0x06:
                transport.write(b"\x40\x02" + body[begin : begin + 2])
                begin += 2
            skip = 1 + body[begin]  # properties: a collector sends none
            self._acknowledged(body[begin + skip :])

    def _acknowledged(self, envelope: bytes) -> None:
        ack = open_ack(envelope, self.swarm.key)
        self.acks += 1
        upto, hashes = ack["upto_seq"], self.book.hashes
        right = ack["terminal"] == self.book.terminal and ack["journal_id"] == self.book.journal_id
        if not right or upto >= len(hashes) or hashes[upto].hex() != ack["chain"]:
            self.wrong_acks.append(ack)
            return
        self._heard_at = time.monotonic()
        self._probing = False
        if upto > self.delivered:
            self.swarm.delivered += upto - self.delivered
            self.delivered = upto
        self._ends = [end for end in self._ends if end > self.delivered]
        if "resend_from" in ack:
            self.swarm.resent += 1
            self._next, self._ends = max(ack["resend_from"], 1), []
        self._next = max(self._next, self.delivered + 1)
        self.pump()

    def pump(self) -> None:
        """Send as much as the window lets."""
        transport, book = self._transport, self.book
        if transport is None:
            return
        window = 1 if self._probing else self.swarm.window
        while len(self._ends) < window and self._next < len(book.hashes):
            last = min(self._next + self.swarm.batch - 1, len(book))
            self._packet_id = self._packet_id % 60_000 + 10
            payload = book.message(self._next, last)
            transport.write(_packet(0x32, self._topic + struct.pack(">H", self._packet_id) + b"\x00" + payload))
            self._ends.append(last)
            self._next = last + 1

    def _again(self) -> None:
        self._next, self._ends = self.delivered + 1, []
        self._heard_at = time.monotonic()
        self.pump()

    def look(self, now: float) -> None:
        """No ack for long: from the last one on, one message as a probe."""
        if self._ends and now - self._heard_at > self.swarm.resend_s:
            self._probing = True
            self._again()

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Swarm:
    """``async with Swarm(port, 1000, entries=100) as swarm: await swarm.all_delivered()``.

    Args:
        entries: Of each terminal, all there from the beginning.
        batch: Entries of a message.
        key: The collector's public key: each ack is verified.
    """

    def __init__(
        self,
        port: int,
        terminals: int,
        *,
        entries: int,
        site: str = "S-01",
        batch: int = 10,
        window: int = 8,
        resend_s: float = 60.0,
        key: bytes | None = None,
    ) -> None:
        self.port, self.site, self.batch, self.window, self.resend_s = port, site, batch, window, resend_s
        self.key = VerifyKey(key) if key is not None else None
        self.up = self.delivered = self.resent = self.reconnected = 0
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.terminals = [Terminal(self, Book(f"T-{number:04d}")) for number in range(terminals)]
        for terminal in self.terminals:
            terminal.book.write(entries)

    @property
    def written(self) -> int:
        """Entries that exist, of all terminals."""
        return sum(len(terminal.book) for terminal in self.terminals)

    async def __aenter__(self) -> Swarm:
        self._start(self._looking())
        for terminal in self.terminals:
            self._start(self._connect(terminal))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for terminal in self.terminals:
            terminal.close()
        while any(terminal.is_open for terminal in self.terminals):
            await asyncio.sleep(0)

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Wait for ``condition``."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {self.delivered:,} of {self.written:,}"
            await asyncio.sleep(0.02)

    async def all_delivered(self, timeout_s: float) -> None:
        """Every entry is signed for."""
        await self.until(lambda: self.delivered == self.written, timeout_s)

    def wrong_acks(self) -> list[dict[str, Any]]:
        """Acks that a terminal could not agree to."""
        return [ack for terminal in self.terminals for ack in terminal.wrong_acks]

    def lost(self, terminal: Terminal) -> None:
        """Its connection is gone."""
        if not self._closing:
            self.reconnected += 1
            self._start(self._connect(terminal, _RECONNECT_S))

    async def _connect(self, terminal: Terminal, wait_s: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(wait_s)
        while True:
            try:
                await loop.create_connection(lambda: terminal, "127.0.0.1", self.port)
                return
            except OSError:
                await asyncio.sleep(_RECONNECT_S)

    async def _looking(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            now = time.monotonic()
            for terminal in self.terminals:
                terminal.look(now)

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def _packet(kind: int, body: bytes) -> bytes:
    size, length = bytearray(), len(body)
    while True:
        length, digit = length >> 7, length & 0x7F
        size.append(digit | (0x80 if length else 0))
        if not length:
            return bytes([kind]) + bytes(size) + body


def _packet_size(buffer: bytearray, at: int) -> tuple[int, int] | None:
    """Bytes of the fixed header, and what follows it; None when they are not there yet."""
    length = 0
    for number in range(4):
        if at + 1 + number >= len(buffer):
            return None
        digit = buffer[at + 1 + number]
        length |= (digit & 0x7F) << 7 * number
        if not digit & 0x80:
            return 2 + number, length
    raise BadSignatureError("no MQTT")
