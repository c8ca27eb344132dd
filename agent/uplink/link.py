"""One link to one broker, from TCP to the last packet. Used by the session, and on the operator's side.

A `Link` is used once; the next attempt makes a new one, so a packet id can never be acknowledged on a connection that
it did not come from. Reconnecting, topics and meaning are the callers'.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, Final, TypeVar

from agent.errors import LinkDown, PublishRefused
from agent.uplink.broker import Broker, Limits, Received, Subscription, Will, close_unfinished
from agent.uplink.connection import MqttClient
from agent.uplink.daemon_thread import run_in_daemon_thread

T = TypeVar("T")
FAILURE: Final = 0x80  # Reason Codes from here on
TOPIC_NAME_INVALID: Final = 0x90
PACKET_TOO_LARGE: Final = 0x95
RETAIN_NOT_SUPPORTED: Final = 0x9A
QOS_NOT_SUPPORTED: Final = 0x9B
_HEADER_BYTES: Final = 32  # of a PUBLISH beside topic and payload, generously
_CLOSE_S: Final = 2.0


class Link:
    """``await open()``, use it, ``await close()``. Once the link is lost every method raises `LinkDown`.

    Args:
        persistent: Keep the session at the broker over disconnections (Clean Start 0, expiry 7 days).
        will: Published by the broker when the link is lost without DISCONNECT.
    """

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        *,
        persistent: bool = True,
        will: Will | None = None,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self._broker = broker
        self._client_id, self._persistent, self._will = client_id, persistent, will
        self._username, self._password = username, password
        self._tls: ssl.SSLContext | None = None
        self._client: MqttClient | None = None
        self._slots = asyncio.Semaphore(broker.window)
        self._sent_at: dict[asyncio.Future[int | None], float] = {}
        self._overdue: asyncio.TimerHandle | None = None
        self.limits = Limits()
        self.session_present = False

    async def open(self) -> None:
        """Connect and wait for CONNACK.

        Raises:
            LinkDown: No TCP or TLS, no CONNACK in time, or refused; the message says which. Nothing is left open.
        """
        where, ready = f"{self._broker.host}:{self._broker.port}", False
        try:
            self._tls = self._broker.tls_context()
            self._client = client = self._make_client()
            async with asyncio.timeout(self._broker.connect_timeout_s):
                await run_in_daemon_thread(client.connect_blocking, abandoned=self._dispose)
                await asyncio.wait((client.answer, client.lost), return_when=asyncio.FIRST_COMPLETED)
            self._take_answer(client)
            ready = True
        except (OSError, ValueError) as err:
            if isinstance(err, TimeoutError) and not str(err):
                raise LinkDown(f"{where} gave no CONNACK within {self._broker.connect_timeout_s:g} s") from err
            raise LinkDown(
                f"{where} cannot be reached: {err}", hint="check host, port, network and certificates"
            ) from err
        finally:
            if not ready:
                self._dispose()

    async def close(self, *, orderly: bool) -> None:
        """End it; ``orderly`` sends DISCONNECT, so that no Will is published. May be called again."""
        client = self._client
        try:
            if orderly and client is not None and not client.lost.done():
                client.say_goodbye()
                await asyncio.wait((client.lost,), timeout=_CLOSE_S)
        finally:
            self._dispose()

    async def wait_lost(self) -> str:
        """Return when the link is gone, with the reason."""
        return await asyncio.shield(self._opened.lost)

    @property
    def is_up(self) -> bool:
        return self._client is not None and self._client.answer.done() and not self._client.lost.done()

    async def send(
        self, topic: str, payload: bytes, *, retain: bool = False, message_expiry_s: int | None = None
    ) -> asyncio.Future[int | None]:
        """Send at QoS 1 as soon as fewer than ``window`` messages (or the broker's Receive Maximum) wait for PUBACK.

        Returns:
            A future of the Reason Code of PUBACK; None when the link was lost first, and the outcome is unknown.

        Raises:
            LinkDown: Nothing was sent.
            PublishRefused: No Topic Name, or the broker has said that it takes no such message; nothing was sent.
        """
        self._check(topic, payload, retain=retain)
        await self._slots.acquire()
        try:
            acknowledged = self._up.send(topic, payload, retain, message_expiry_s)
        except LinkDown:
            self._slots.release()
            raise
        except ValueError as err:
            self._slots.release()
            raise refused(TOPIC_NAME_INVALID) from err
        loop = asyncio.get_running_loop()
        self._sent_at[acknowledged] = loop.time()
        acknowledged.add_done_callback(self._settled)
        if self._overdue is None:
            self._overdue = loop.call_later(self._broker.acknowledge_timeout_s, self._look_for_overdue)
        return acknowledged

    async def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, message_expiry_s: int | None = None
    ) -> None:
        """Send at QoS 1 and wait for PUBACK.

        Raises:
            LinkDown: The link was lost first: it is unknown whether the message arrived.
            PublishRefused: PUBACK carried a failure.
        """
        acknowledged = await self.send(topic, payload, retain=retain, message_expiry_s=message_expiry_s)
        reason = await asyncio.shield(acknowledged)
        if reason is None:
            raise LinkDown("the link was lost before PUBACK")
        if reason >= FAILURE:
            raise refused(reason)

    def publish_lossy(self, topic: str, payload: bytes) -> bool:
        """Send at QoS 0; False when the link is gone or has too much unsent: then nothing was sent."""
        return self.is_up and self._opened.send_lossy(topic, payload)

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> list[int]:
        """Subscribe; the Reason Code of each filter, in order (0x80 and above: refused)."""
        try:
            return await self._or_lost(self._up.subscribe_to(subscriptions))
        except LinkDown as err:
            self._opened.lose(err.message)
            raise

    async def receive(self) -> Received:
        """The next message, in order of arrival.

        Whoever receives must never wait for `send` or `publish` in between: while too many messages wait here the
        socket is not read, and a PUBACK cannot come.
        """
        client = self._up
        message = await client.inbound.get()
        if message is None or client.lost.done():
            client.inbound.put_nowait(None)
            raise LinkDown(client.lost.result())
        return message

    def acknowledge(self, message: Received) -> bool:
        """Send PUBACK for a message of this link; False when it is gone (the broker sends the message again)."""
        if not self.is_up:
            return False
        self._opened.acknowledge(message)
        return True

    @property
    def _opened(self) -> MqttClient:
        if self._client is None:
            raise LinkDown("the link was never opened")
        return self._client

    @property
    def _up(self) -> MqttClient:
        client = self._opened
        if client.lost.done():
            raise LinkDown(client.lost.result())
        return client

    def _make_client(self) -> MqttClient:
        return MqttClient(
            self._broker,
            self._client_id,
            persistent=self._persistent,
            will=self._will,
            username=self._username,
            password=self._password,
            tls=self._tls,
        )

    def _take_answer(self, client: MqttClient) -> None:
        if not client.answer.done():
            raise LinkDown(f"no CONNACK, {client.lost.result()}")
        answer = client.answer.result()
        if answer.reason_code >= FAILURE:
            raise LinkDown(
                f"the broker refused the connection: {answer.text} (0x{answer.reason_code:02X})",
                reason_code=answer.reason_code,
            )
        self.session_present, self.limits = answer.session_present, answer.limits
        self._slots = asyncio.Semaphore(min(self._broker.window, self.limits.receive_maximum))

    def _check(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """A broker ends the whole link over a message beyond what its CONNACK allowed: refuse it here instead."""
        if len(topic.encode()) + len(payload) + _HEADER_BYTES > self.limits.maximum_packet_bytes:
            raise refused(PACKET_TOO_LARGE)
        if retain and not self.limits.retain_available:
            raise refused(RETAIN_NOT_SUPPORTED)
        if self.limits.maximum_qos < 1:
            raise refused(QOS_NOT_SUPPORTED)

    def _settled(self, acknowledged: asyncio.Future[int | None]) -> None:
        self._sent_at.pop(acknowledged, None)
        self._slots.release()

    def _look_for_overdue(self) -> None:
        self._overdue = None
        if not self._sent_at:
            return
        loop = asyncio.get_running_loop()
        wait_s = min(self._sent_at.values()) + self._broker.acknowledge_timeout_s - loop.time()
        if self._opened.inbound.paused:
            wait_s = self._broker.acknowledge_timeout_s  # a PUBACK cannot be read now; silence says nothing
        if wait_s > 0:
            self._overdue = loop.call_later(wait_s, self._look_for_overdue)
        else:
            self._opened.lose(f"no PUBACK within {self._broker.acknowledge_timeout_s:g} s")

    def _dispose(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        if self._client is not None:
            self._client.dispose()
            if self._client.socket_is_ours:
                close_unfinished(self._tls)

    async def _or_lost(self, work: Coroutine[Any, Any, T]) -> T:
        """The outcome of ``work``, or `LinkDown` as soon as the link is gone."""
        task, lost = asyncio.create_task(work), self._opened.lost
        try:
            await asyncio.wait((task, lost), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise LinkDown(lost.result())
        finally:
            task.cancel()


def refused(reason_code: int) -> PublishRefused:
    """The error for a Reason Code of PUBACK, or for a limit of CONNACK."""
    return PublishRefused(f"the broker refused a message: Reason Code 0x{reason_code:02X}", reason_code=reason_code)


@contextlib.asynccontextmanager
async def opened(link: Link) -> AsyncIterator[Link]:
    """``async with opened(Link(…)) as link:`` closes it in order."""
    await link.open()
    try:
        yield link
    finally:
        await link.close(orderly=True)
