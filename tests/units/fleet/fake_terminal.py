"""A terminal on a real broker that is not the agent: checks an order's signature by the published rule and answers.

Its verification is written from the DSSE specification and shares no code with the product.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import paho.mqtt.client as mqtt
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from paho.mqtt.enums import CallbackAPIVersion

COMMAND_TYPE = "application/vnd.pos-agent.command.v1+json"


def public_keys(files: Iterable[Path]) -> list[bytes]:
    return [base64.b64decode(json.loads(file.read_text())["public_key"]) for file in files]


def open_envelope(envelope: bytes, keys: Iterable[bytes], payload_type: str) -> tuple[dict[str, Any], int]:
    """The payload, and how many of ``keys`` signed it. Raises KeyError, ValueError for another form."""
    outer = json.loads(envelope)
    if outer["payloadType"] != payload_type:
        raise ValueError(outer["payloadType"])
    payload = base64.b64decode(outer["payload"], validate=True)
    kind = payload_type.encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    good = set()
    for signature in outer["signatures"]:
        for key in keys:
            try:
                VerifyKey(key).verify(signed, base64.b64decode(signature["sig"], validate=True))
            except BadSignatureError:
                continue
            good.add(key)
    return json.loads(payload), len(good)


class FakeTerminal:
    """Connected as a context manager, and again by itself. ``answers`` are what it publishes for each good order.

    ``retained`` are messages (below its own name) that it leaves at the broker when it comes up. With ``held`` it stops
    after its first answer until `release`. ``people``: how many must sign. A known id gets the recorded state again.
    """

    def __init__(
        self,
        port: int,
        terminal: str,
        keys: Iterable[bytes],
        *,
        answers: Iterable[Mapping[str, Any]] = ({"state": "accepted"}, {"state": "running"}, {"state": "succeeded"}),
        retained: Mapping[str, object] | None = None,
        site: str = "S-01",
        held: bool = False,
        people: int = 1,
    ) -> None:
        self.prefix = f"pos/v1/{site}/{terminal}/"
        self.site = site
        self.orders: list[dict[str, Any]] = []
        self.envelopes: list[bytes] = []
        self.unsigned = 0
        self.was_retained: list[bool] = []
        self.qos: list[int] = []
        self.done: dict[str, dict[str, Any]] = {}  # command id → the state as last published
        self._held, self._people = held, people
        self._waiting: list[tuple[dict[str, Any], list[Mapping[str, Any]]]] = []
        self._lock = threading.Lock()
        self._keys = list(keys)
        self._answers = list(answers)
        self._retained = retained or {}
        self._ready = threading.Event()
        self._connected = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=terminal, protocol=mqtt.MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self._connected.clear()
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> FakeTerminal:
        self._client.loop_start()
        assert self._ready.wait(20)
        for below, content in self._retained.items():
            self.publish(below, content, retain=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, below: str, content: object, *, retain: bool = False) -> None:
        assert self._connected.wait(20)
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        self._client.publish(self.prefix + below, payload, qos=1, retain=retain).wait_for_publish(20)

    def release(self) -> None:
        """Go on with everything that is held, and hold nothing any more."""
        with self._lock:
            self._held, waiting, self._waiting = False, self._waiting, []
        for order, answers in waiting:
            self._answer(order, answers)

    @property
    def is_held(self) -> bool:
        return self._held

    def answer_from_now_on(self, answers: Iterable[Mapping[str, Any]]) -> None:
        """Other answers for orders that come from now on."""
        self._answers = list(answers)

    def _on_connect(self, client: mqtt.Client, *_: object) -> None:
        """Its session has nothing of before: subscribe, and tell that it is back and how its orders are."""
        client.subscribe([(f"{self.prefix}in/#", 1), (f"pos/v1/{self.site}/_all/in/#", 1)])
        if self._keys and self._ready.is_set():
            client.publish(f"{self.prefix}agent/status", b'{"online": true, "conn": 2}', qos=1, retain=True)
        for state in list(self.done.values()):
            self._tell(state)
        self._connected.set()

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        payload = bytes(message.payload)
        order, good = open_envelope(payload, self._keys, COMMAND_TYPE)
        self.was_retained.append(message.retain)
        self.qos.append(message.qos)
        self.envelopes.append(payload)
        if not good:
            self.unsigned += 1
            return
        self.orders.append(order)
        if order["command_id"] in self.done:
            self._tell(self.done[order["command_id"]])
        elif good < self._people:
            reason = {"code": "NOT_AUTHORISED", "text": f"needs {self._people} people"}
            self._answer(order, [{"state": "rejected", "reason": reason}])
        else:
            with self._lock:
                now = self._answers[:1] if self._held else self._answers
                if self._held:
                    self._waiting.append((order, self._answers[1:]))
            self._answer(order, now)

    def _answer(self, order: Mapping[str, Any], answers: Iterable[Mapping[str, Any]]) -> None:
        for answer in answers:
            rev = self.done.get(order["command_id"], {"rev": 0})["rev"] + 1
            state = {"command_id": order["command_id"], "name": order["name"], "rev": rev, "reason": None, **answer}
            self.done[order["command_id"]] = state
            self._tell(state)

    def _tell(self, state: Mapping[str, Any]) -> None:
        topic = f"{self.prefix}agent/op/{state['name']}/{state['command_id']}"
        self._client.publish(topic, json.dumps(state).encode(), qos=1, retain=True)
