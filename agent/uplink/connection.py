"""The MQTT library, tamed: the only file that imports aiomqtt and paho. One `MqttClient` serves one connection.

aiomqtt (over paho) does the protocol; this file adds what a terminal needs and aiomqtt 2.5 leaves out: PUBACK only when
we say so, Reason Codes of PUBACK, reading that stops under load, TCP_NODELAY, no timer but the keepalive, and nothing
left behind by a connection that failed. Used through `agent.uplink.link.Link`, which knows nothing of the library.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from agent.errors import LinkDown, NeedsPerson
from agent.runtime.lean_imports import absent, stand_ins
from agent.uplink.broker import SESSION_EXPIRY_S, WILL_DELAY_S, Broker, Limits, Received, Subscription, Will
from agent.uplink.inbound_queue import InboundQueue
from agent.uplink.link_socket import LinkSocket, tune

# paho imports urllib.request for a proxy branch that returns at once when PySocks is not installed; the module brings
# http.client and email with it, 2 MB for ever. It asks platform whether this is Windows. typing_extensions is asked for
# nothing that this Python's typing lacks.
_unused = ("urllib.request",) if importlib.util.find_spec("socks") is None else ()
with stand_ins("platform", *_unused), absent("typing_extensions"):
    import aiomqtt
    import paho.mqtt.client as paho
    from paho.mqtt import MQTTException
    from paho.mqtt.enums import MQTTErrorCode
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode
    from paho.mqtt.subscribeoptions import SubscribeOptions

MAXIMUM_PACKET_BYTES: Final = 128 * 1024  # asked of the broker
_READ_LIMIT_BYTES: Final = 2 * 1024 * 1024  # a broker that sends more than this in one packet is not listened to
_BACKLOG_PACKETS: Final = 32
_BROKEN_PACKET = (OSError, ValueError, LookupError, TypeError, ArithmeticError, struct.error, MQTTException)
_NEEDED: Final = {
    paho.Client: (
        "manual_ack_set ack loop_read loop_write want_write publish disconnect"
        " _send_pingreq _sock_close _call_socket_register_write"
    ),
    aiomqtt.Client: (
        "subscribe _client_connect _misc_loop _on_message _on_publish _on_connect _on_disconnect _on_subscribe"
        " _on_socket_open _on_socket_close _on_socket_register_write _on_socket_unregister_write"
    ),
}
_QUIET = logging.getLogger("pos_agent.mqtt")  # what the library would say is told by our own events
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False
_QUIET.setLevel(logging.CRITICAL + 1)


def check_library() -> None:
    """Make sure that the installed library has what this file reaches for; the session asks when it begins.

    Raises:
        NeedsPerson: It has not: messages could be acknowledged before they are stored.
    """
    missing = [
        f"{kind.__module__}.Client.{name}"
        for kind, names in _NEEDED.items()
        for name in names.split()
        if not callable(getattr(kind, name, None))
    ]
    if missing:
        raise NeedsPerson(
            f"aiomqtt {aiomqtt.__version__} and its paho-mqtt lack {', '.join(missing)}: "
            "messages could be acknowledged before they are stored",
            hint="install the versions that pyproject.toml names",
        )


class Answer(NamedTuple):
    """CONNACK."""

    reason_code: int
    text: str
    session_present: bool
    limits: Limits


class MqttClient(aiomqtt.Client):
    """aiomqtt's client with every callback replaced. Made on the loop, for one connection."""

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        *,
        persistent: bool,
        will: Will | None,
        username: str | None,
        password: str | None,
        tls: ssl.SSLContext | None,
    ) -> None:
        five = broker.protocol == "5"
        super().__init__(
            _host_name(broker.host),  # type: ignore[arg-type]  # bytes go through both libraries as they are
            broker.port,
            username=username,
            password=password,
            logger=_QUIET,
            identifier=client_id,
            queue_type=InboundQueue,  # type: ignore[arg-type]  # _on_message below fills it, with our own type
            protocol=aiomqtt.ProtocolVersion.V5 if five else aiomqtt.ProtocolVersion.V311,
            will=_will(will, five=five),
            clean_session=None if five else not persistent,
            timeout=broker.connect_timeout_s,
            keepalive=broker.keepalive_s,
            clean_start=not persistent if five else paho.MQTT_CLEAN_START_FIRST_ONLY,
            properties=_connect_properties(broker, persistent=persistent) if five else None,
            max_inflight_messages=broker.window,
            tls_context=tls,
        )
        self.pending_calls_threshold = broker.window
        self._client.manual_ack_set(True)
        self._client.connect_timeout = broker.connect_timeout_s
        self._five = five
        self._loop_thread = threading.get_ident()
        self._link: LinkSocket | None = None
        self.socket_is_ours = False  # until the connecting thread is done, nobody else may close what it works on
        self.inbound: InboundQueue = self._queue  # type: ignore[assignment]  # as above
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self.answer: asyncio.Future[Answer] = self._loop.create_future()
        self._unacknowledged: dict[int, asyncio.Future[int | None]] = {}

    # ── what the link asks for ─────────────────────────────────────────────────────────────────────────────────
    def connect_blocking(self) -> None:
        """TCP, TLS and the CONNECT packet; for a thread."""
        try:
            self._client_connect()
        finally:
            self.socket_is_ours = True

    def send(
        self, topic: str, payload: bytes, retain: bool, message_expiry_s: int | None
    ) -> asyncio.Future[int | None]:
        """PUBLISH at QoS 1; a future of PUBACK's Reason Code, None when the link was lost first."""
        properties = None
        if message_expiry_s is not None and self._five:
            properties = _properties(PacketTypes.PUBLISH)
            properties.MessageExpiryInterval = message_expiry_s
        acknowledged: asyncio.Future[int | None] = self._loop.create_future()
        info = self._client.publish(topic, payload, 1, retain, properties)
        if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._unacknowledged[info.mid] = acknowledged
        else:
            acknowledged.set_result(None)
            self.lose("the connection broke while sending")
        return acknowledged

    def send_lossy(self, topic: str, payload: bytes) -> bool:
        """PUBLISH at QoS 0; False when too much waits to be sent already."""
        if len(self._client._out_packet) >= _BACKLOG_PACKETS:
            return False
        return self._client.publish(topic, payload, 0).rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    async def subscribe_to(self, subscriptions: Sequence[Subscription]) -> list[int]:
        """One SUBSCRIBE; the Reason Code of each filter, in order.

        Raises:
            LinkDown: No SUBACK.
        """
        filters: list[Any] = [(one.topic_filter, self._options(one)) for one in subscriptions]
        try:
            granted = await self.subscribe(filters)
        except aiomqtt.MqttError as err:
            raise LinkDown(f"no SUBACK: {err}") from err
        return [int(code.value) if isinstance(code, ReasonCode) else int(code) for code in granted]

    def acknowledge(self, message: Received) -> None:
        """PUBACK."""
        self._client.ack(message.packet_id, message.qos)

    def say_goodbye(self) -> None:
        """DISCONNECT after everything that waits; `lost` follows when it is written."""
        self._client.disconnect()

    def lose(self, reason: str) -> None:
        """The link is over: tell everybody who waits, and close everything soon. May be called again."""
        self._mark_lost(reason)
        self._loop.call_soon(self.dispose)  # not now: paho makes some callbacks under a lock that closing needs

    def dispose(self) -> None:
        """Close the socket, stop the keepalive, answer whoever waits for a PUBACK. May be called again.

        While the connecting thread runs the socket stays open: call once more when it is over.
        """
        self._mark_lost("closed")
        if self._misc_task is not None:
            self._misc_task.cancel()
        if self._link is not None:
            self._link.close()
        if self.socket_is_ours:
            self._client._sock_close()
        for waiting in list(self._unacknowledged.values()):
            if not waiting.done():
                waiting.set_result(None)
        self._unacknowledged.clear()

    # ── callbacks; all on the loop, but the first on the connecting thread ─────────────────────────────────────
    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        tune(sock, self._keepalive)
        self._loop.call_soon_threadsafe(self._begin, sock)

    def _begin(self, sock: Any) -> None:
        if self.lost.done():
            return  # given up while the thread was connecting
        self._link = LinkSocket(
            sock, read=self._read, write=self._write, unsent=self._client.want_write, lose=self.lose
        )
        self.inbound.attach(self._link.stop_reading, self._link.start_reading)
        self._link.start_reading()

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        if self.answer.done() or self._link is None:
            return
        self.answer.set_result(
            Answer(reason_code.value, str(reason_code), bool(flags.session_present), _limits(properties))
        )
        if not reason_code.is_failure:
            self._misc_task = self._loop.create_task(self._misc_loop(), name="uplink-keepalive")

    async def _misc_loop(self) -> None:
        assert self._link is not None
        await self._link.keep_alive(self._client.keepalive or self._keepalive, self._client._send_pingreq)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        said = "the broker ended it" if flags.is_disconnect_packet_from_server else "the connection broke"
        self.lose(f"{said}: {reason_code} (0x{reason_code.value:02X})")

    def _on_publish(
        self, client: paho.Client, userdata: Any, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        waiting = self._unacknowledged.pop(mid, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(reason_code.value)

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # nobody's; it is acknowledged and counted like any other topic that is not ours
        if not self.lost.done():
            self.inbound.put_nowait(Received(topic, bytes(message.payload), message.qos, message.retain, message.mid))

    def _on_socket_close(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        if self._link is not None:
            self._link.close()

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        if threading.get_ident() == self._loop_thread:
            self._flush()
        else:
            self._loop.call_soon_threadsafe(self._flush)

    def _on_socket_unregister_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        """`LinkSocket` asks for itself whether something waits."""

    # ── inside ─────────────────────────────────────────────────────────────────────────────────────────────────
    def _flush(self) -> None:
        if self._link is not None:
            self._link.flush()

    def _read(self) -> None:
        self._guarded(self._client.loop_read)
        if self._client._in_packet["remaining_length"] > _READ_LIMIT_BYTES:
            self.lose("the broker sends a packet beyond any agreed size")

    def _write(self) -> None:
        self._guarded(self._client.loop_write)

    def _guarded(self, step: Callable[[], MQTTErrorCode]) -> None:
        """Run one step of the library; whatever it raises ends the link, and only the unforeseen goes further."""
        foreseen = False
        try:
            step()
            foreseen = True
        except _BROKEN_PACKET as err:
            self.lose(f"a broken packet ({type(err).__name__})")
            foreseen = True
        finally:
            if not foreseen:
                self.lose("the library failed on a packet")

    def _mark_lost(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)
            self.inbound.put_nowait(None)

    def _options(self, one: Subscription) -> Any:
        if not self._five:
            return one.qos
        return SubscribeOptions(qos=one.qos, retainAsPublished=True, retainHandling=one.retained)


def _host_name(host: str) -> bytes:
    """As the resolver and TLS take it. Given as text, Python would load its tables for names beyond ASCII: 0.3 MB."""
    return host.encode("ascii" if host.isascii() else "idna")


def _properties(kind: int) -> Properties:
    return Properties(kind)  # type: ignore[no-untyped-call]


def _connect_properties(broker: Broker, *, persistent: bool) -> Properties:
    properties = _properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_EXPIRY_S if persistent else 0
    properties.ReceiveMaximum = broker.receive_maximum
    properties.MaximumPacketSize = MAXIMUM_PACKET_BYTES
    return properties


def _will(will: Will | None, *, five: bool) -> aiomqtt.Will | None:
    if will is None:
        return None
    properties = None
    if five:
        properties = _properties(PacketTypes.WILLMESSAGE)
        properties.WillDelayInterval = WILL_DELAY_S
    return aiomqtt.Will(will.topic, will.payload, 1, True, properties)


def _limits(properties: Properties | None) -> Limits:
    """What CONNACK's properties say; what they leave out has the standard's default."""
    default = Limits()
    return Limits(
        receive_maximum=int(getattr(properties, "ReceiveMaximum", default.receive_maximum)),
        maximum_packet_bytes=int(getattr(properties, "MaximumPacketSize", default.maximum_packet_bytes)),
        maximum_qos=int(getattr(properties, "MaximumQoS", default.maximum_qos)),
        retain_available=bool(getattr(properties, "RetainAvailable", default.retain_available)),
    )
