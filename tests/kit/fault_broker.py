"""A small MQTT 5 endpoint that misbehaves on demand, for tests only: what no real broker does when asked.

It lives in the test's own event loop, serves one client at a time (the newest), and writes down in ``events`` what it
saw and did, in order: that is how a test proves that no PUBACK left before a commit. QoS 0 and 1; properties of
received packets are skipped, not kept, except CONNECT's. Routing, sessions and retained messages are left to Mosquitto.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 1, 2, 3, 4, 8, 9, 12, 13, 14


class Connected(NamedTuple):
    client_id: str
    clean_start: bool
    keepalive_s: int
    properties: bytes
    will_topic: str | None
    will_payload: bytes
    will_properties: bytes


class Published(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool
    dup: bool
    packet_id: int


@dataclass
class Faults:
    """What is wrong at present; change it while the broker runs."""

    no_connack: bool = False  # TCP is taken, CONNECT is read, nothing is answered
    connack_reason: int = 0  # e.g. 0x87
    connack_properties: bytes = b""  # e.g. receive_maximum(4)
    kick_after_connack: int | None = (
        None  # DISCONNECT with this Reason Code right after CONNACK; 0x8E: session taken over
    )
    drop_after_connack: bool = False  # close without a word right after CONNACK
    malformed_after_connack: bytes | None = None  # raw bytes right after CONNACK
    suback_reason: Callable[[str], int] = lambda _filter: 1  # granted QoS, or a failure
    puback_reason: Callable[[Published], int] = lambda _message: 0  # e.g. 0x87, 0x97
    puback_delay_s: float = 0.0
    no_puback: bool = False
    no_pingresp: bool = False
    deaf: bool = False  # half-open: nothing is read or answered any more, the socket stays open


@dataclass
class FaultBroker:
    """``async with FaultBroker() as broker:``; ``broker.faults`` may be changed at any time."""

    faults: Faults = field(default_factory=Faults)
    host: str = "127.0.0.1"
    port: int = 0
    events: list[tuple[object, ...]] = field(default_factory=list)  # e.g. ("puback", 3), ("publish", "a/b"), ("ping",)
    connects: list[Connected] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    subscribed: list[tuple[str, int]] = field(default_factory=list)  # Topic Filter, subscription options byte
    acknowledged: list[int] = field(default_factory=list)  # packet ids of PUBACKs that the client sent
    accepted: int = 0  # TCP connections taken so far
    most_unacknowledged: int = 0  # the largest number of the client's PUBLISHes that waited for PUBACK
    _unacknowledged: int = 0
    _packet_id: int = 0
    _server: asyncio.Server | None = None
    _writer: asyncio.StreamWriter | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> FaultBroker:
        self._server = await asyncio.start_server(self._take, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def open_connections(self) -> int:
        """TCP connections that neither side has closed."""
        return len([task for task in self._tasks if task.get_name() == "connection"])

    def deliver(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, dup: bool = False) -> int:
        """Send a PUBLISH to the client, its Receive Maximum ignored; the packet id (0 at QoS 0)."""
        self._packet_id = self._packet_id % 65535 + 1 if qos else self._packet_id
        body = _text(topic) + (self._packet_id.to_bytes(2, "big") if qos else b"") + b"\0" + payload
        self._send(PUBLISH << 4 | dup << 3 | qos << 1 | retain, body)
        return self._packet_id if qos else 0

    def send_raw(self, data: bytes) -> None:
        """Any bytes."""
        assert self._writer is not None
        self._writer.write(data)

    def drop(self) -> None:
        """Cut the newest connection (RST or FIN, as the kernel likes)."""
        if self._writer is not None:
            self._writer.transport.abort()

    def kick(self, reason: int) -> None:
        """DISCONNECT with a Reason Code, then close."""
        self.events.append(("kick", reason))
        self._send(DISCONNECT << 4, bytes([reason, 0]))
        assert self._writer is not None
        self._writer.close()

    def _send(self, first: int, body: bytes) -> None:
        assert self._writer is not None
        self._writer.write(bytes([first]) + _length(len(body)) + body)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("connection")
        self._tasks.add(task)
        self.accepted += 1
        self._writer = writer
        self._unacknowledged = 0
        self.events.append(("tcp",))
        try:
            while True:
                first = (await reader.readexactly(1))[0]
                body = await reader.readexactly(await _read_length(reader))
                if self.faults.deaf:
                    await asyncio.Event().wait()
                self._handle(first, body)
                await writer.drain()
        except (OSError, EOFError, asyncio.CancelledError):
            self.events.append(("closed",))
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    def _handle(self, first: int, body: bytes) -> None:
        kind = first >> 4
        if kind == CONNECT:
            self._connect(body)
        elif kind == PUBLISH:
            self._publish(first, body)
        elif kind == PUBACK:
            self.acknowledged.append(int.from_bytes(body[:2], "big"))
            self.events.append(("puback", self.acknowledged[-1]))
        elif kind == SUBSCRIBE:
            self._subscribe(body)
        elif kind == PINGREQ:
            self.events.append(("ping",))
            if not self.faults.no_pingresp:
                self._send(PINGRESP << 4, b"")
        elif kind == DISCONNECT:
            self.events.append(("disconnect", body[0] if body else 0))

    def _connect(self, body: bytes) -> None:
        flags, at = body[7], 8
        keepalive_s = int.from_bytes(body[at : at + 2], "big")
        properties, at = _properties(body, at + 2)
        client_id, at = _take_bytes(body, at)
        will_topic, will_payload, will_properties = None, b"", b""
        if flags & 0x04:
            will_properties, at = _properties(body, at)
            topic, at = _take_bytes(body, at)
            will_topic = topic.decode()
            will_payload, at = _take_bytes(body, at)
        connected = Connected(
            client_id.decode(), bool(flags & 2), keepalive_s, properties, will_topic, will_payload, will_properties
        )
        self.connects.append(connected)
        self.events.append(("connect", connected.client_id))
        faults = self.faults
        if faults.no_connack:
            return
        self._send(
            CONNACK << 4,
            bytes([0, faults.connack_reason]) + _length(len(faults.connack_properties)) + faults.connack_properties,
        )
        assert self._writer is not None
        if faults.connack_reason or faults.drop_after_connack:
            self._writer.close()
        elif faults.kick_after_connack is not None:
            self.kick(faults.kick_after_connack)
        elif faults.malformed_after_connack is not None:
            self._writer.write(faults.malformed_after_connack)

    def _subscribe(self, body: bytes) -> None:
        packet_id = body[:2]
        _skipped, at = _properties(body, 2)
        reasons = []
        while at < len(body):
            topic_filter, at = _take_bytes(body, at)
            self.subscribed.append((topic_filter.decode(), body[at]))
            reasons.append(self.faults.suback_reason(topic_filter.decode()))
            at += 1
        self.events.append(("subscribe", len(reasons)))
        self._send(SUBACK << 4, packet_id + b"\0" + bytes(reasons))

    def _publish(self, first: int, body: bytes) -> None:
        qos = first >> 1 & 3
        topic, at = _take_bytes(body, 0)
        packet_id = int.from_bytes(body[at : at + 2], "big") if qos else 0
        _skipped, at = _properties(body, at + 2 if qos else at)
        message = Published(topic.decode(), body[at:], qos, bool(first & 1), bool(first & 8), packet_id)
        self.published.append(message)
        self.events.append(("publish", message.topic))
        if not qos:
            return
        self._unacknowledged += 1
        self.most_unacknowledged = max(self.most_unacknowledged, self._unacknowledged)
        if self.faults.no_puback:
            return
        if self.faults.puback_delay_s:
            task = asyncio.create_task(self._puback_later(message, self._writer), name="puback")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._puback(message)

    async def _puback_later(self, message: Published, writer: asyncio.StreamWriter | None) -> None:
        await asyncio.sleep(self.faults.puback_delay_s)
        if writer is self._writer and writer is not None and not writer.is_closing():
            self._puback(message)

    def _puback(self, message: Published) -> None:
        self._unacknowledged -= 1
        reason = self.faults.puback_reason(message)
        self.events.append(("acked", message.topic, reason))
        self._send(PUBACK << 4, message.packet_id.to_bytes(2, "big") + (bytes([reason, 0]) if reason else b""))


def receive_maximum(count: int) -> bytes:
    """CONNACK property."""
    return b"\x21" + count.to_bytes(2, "big")


def maximum_packet_size(size_bytes: int) -> bytes:
    """CONNACK property."""
    return b"\x27" + size_bytes.to_bytes(4, "big")


def server_keep_alive(seconds: int) -> bytes:
    """CONNACK property."""
    return b"\x13" + seconds.to_bytes(2, "big")


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def _take_bytes(body: bytes, at: int) -> tuple[bytes, int]:
    size = int.from_bytes(body[at : at + 2], "big")
    return body[at + 2 : at + 2 + size], at + 2 + size


def _properties(body: bytes, at: int) -> tuple[bytes, int]:
    size, shift = 0, 0
    while True:
        size |= (body[at] & 127) << shift
        shift += 7
        at += 1
        if not body[at - 1] & 128:
            return body[at : at + size], at + size


def _length(size: int) -> bytes:
    out = bytearray()
    while True:
        out.append(size & 127 | (128 if size > 127 else 0))
        size >>= 7
        if not size:
            return bytes(out)


async def _read_length(reader: asyncio.StreamReader) -> int:
    size, shift = 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            return size
