"""A real Mosquitto on a free loopback port, which tests may kill and start again, and a second client to watch it with.

Never the system's own service: each broker has a folder, a port and a process of its own. Needs Debian's ``mosquitto``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import aiomqtt
from paho.mqtt.subscribeoptions import SubscribeOptions

START_S = 15.0
PROGRAM = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


def free_port() -> int:
    """A TCP port on loopback that nobody listened on a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Broker:
    """``with Broker(tmp_path) as broker:`` or ``async with``; or ``start``, ``stop``, ``kill``, ``restart`` by hand.

    Args:
        folder: Its configuration, log and saved sessions are kept in ``folder/mosquitto``.
        config: More lines of ``mosquitto.conf``, e.g. ``acl_file …`` or TLS options of the listener.
        anonymous: ``allow_anonymous``.
        port: A fixed port; a free one by default. It stays the same over restarts.
        saves: Every change is written to disk at once, all of it: too slow with thousands of messages waiting.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        folder: Path,
        *,
        config: str = "",
        anonymous: bool = True,
        port: int | None = None,
        saves: bool = True,
    ) -> None:
        self.folder = folder / "mosquitto"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.log_file = self.folder / "broker.log"
        self.config_file = self.folder / "mosquitto.conf"
        self._state_file = self.folder / "mosquitto.db"
        self._process: subprocess.Popen[bytes] | None = None
        user = "user root\n" if os.geteuid() == 0 else ""
        self.config_file.write_text(
            f"{user}listener {self.port} {self.host}\nallow_anonymous {str(anonymous).lower()}\n"
            f"set_tcp_nodelay true\npersistence true\npersistence_location {self.folder}/\n"
            f"autosave_on_changes {str(saves).lower()}\nautosave_interval {1 if saves else 3600}\n"
            "max_queued_messages 100000\n"
            f"log_dest file {self.log_file}\nlog_type all\nconnection_messages true\n{config}\n"
        )

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        assert not self.running
        with (self.folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                [PROGRAM, "-c", str(self.config_file)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=1.0):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "output.log").read_text() + self.log()
                self.kill()
                raise AssertionError(f"the broker did not start:\n{said}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it in order: sessions and retained messages are saved."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: what was not saved is lost."""
        self._end(signal.SIGKILL)

    def suspend(self) -> None:
        """SIGSTOP: the link stays up and nobody answers, as behind a dead mobile cell."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def restart(self, keep_state: bool = True) -> None:
        """Stop and start on the same port; without ``keep_state`` it comes back knowing nothing."""
        if self.running:
            self.stop()
        if not keep_state:
            self.forget()
        self.start()

    def forget(self) -> None:
        """Delete saved sessions and retained messages; only while it does not run."""
        assert not self.running
        self._state_file.unlink(missing_ok=True)

    def log(self) -> str:
        """Everything it logged, restarts included; ``log_type all``."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def sessions(self, client_id: str) -> int:
        """How many times this client id has connected, by the broker's log."""
        return sum(f" as {client_id} (" in line and "New client" in line for line in self.log().splitlines())

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)  # a suspended process takes no SIGTERM
            self._process.send_signal(number)
        self._process.wait(20.0)
        self._process = None

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    async def __aenter__(self) -> Broker:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.kill)


class Seen(NamedTuple):
    """A message as the watching client got it."""

    topic: str
    payload: bytes
    qos: int
    retained: bool


class Watcher:
    """A second client: what it has seen so far is in ``messages``, in order."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.messages: list[Seen] = []
        self.client = client
        self._arrived = asyncio.Event()

    async def _read(self) -> None:
        with contextlib.suppress(aiomqtt.MqttError):  # the broker went away: keep what was seen
            async for message in self.client.messages:
                payload = bytes(message.payload)
                self.messages.append(Seen(str(message.topic), payload, message.qos, bool(message.retain)))
                self._arrived.set()

    def on(self, topic: str) -> list[bytes]:
        """Payloads seen on one Topic Name."""
        return [message.payload for message in self.messages if message.topic == topic]

    async def until(self, condition: Callable[[list[Seen]], bool], timeout_s: float = 15.0) -> list[Seen]:
        """Wait until ``condition`` holds for all messages seen so far; gives them."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition(self.messages):
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(f"not within {timeout_s} s; seen: {self.messages[-20:]}") from None
        return list(self.messages)

    async def collect(self, count: int, topic: str | None = None, timeout_s: float = 15.0) -> list[Seen]:
        """Wait for ``count`` messages, on one Topic Name or on any; gives the first ``count``."""

        def matching() -> list[Seen]:
            return [message for message in self.messages if topic is None or message.topic == topic]

        await self.until(lambda _messages: len(matching()) >= count, timeout_s)
        return matching()[:count]

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        await self.client.publish(topic, payload, qos=qos, retain=retain)


@contextlib.asynccontextmanager
async def subscribe(
    broker: Broker, *filters: str, username: str | None = None, password: str | None = None
) -> AsyncIterator[Watcher]:
    """A second client for the length of a ``with``; retained messages come first and are marked (Retain As Published).

    Args:
        filters: Topic Filters, QoS 1; none to only publish.
    """
    options = SubscribeOptions(qos=1, retainAsPublished=True)
    async with aiomqtt.Client(
        broker.host,
        broker.port,
        protocol=aiomqtt.ProtocolVersion.V5,
        username=username,
        password=password,
        timeout=10,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    ) as client:
        client.pending_calls_threshold = 100_000
        watcher = Watcher(client)
        reading = asyncio.create_task(watcher._read())
        try:
            if filters:
                await client.subscribe([(one, options) for one in filters])
            yield watcher
        finally:
            reading.cancel()
            await asyncio.wait([reading])


async def collect(broker: Broker, topic_filter: str, count: int = 1, timeout_s: float = 15.0) -> list[Seen]:
    """The next ``count`` messages that match, retained ones included."""
    async with subscribe(broker, topic_filter) as watcher:
        return await watcher.collect(count, timeout_s=timeout_s)


async def eventually(condition: Callable[[], bool], timeout_s: float = 15.0, what: str = "the condition") -> None:
    """Wait until ``condition`` holds; asks every 10 ms."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout_s} s")
        await asyncio.sleep(0.01)
