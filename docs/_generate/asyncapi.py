"""The MQTT side as an AsyncAPI 3.0 document, from ``agent/contract/mqtt_api.py``. Pure: facts in, document out."""

from __future__ import annotations

from typing import Any

import agent
from agent.contract import topics
from agent.contract.mqtt_api import CHANNELS, PARAMETERS, Channel, Sender
from docs._generate.schemas import components, key_of

_ROOT = f"{topics.ROOT}/{{site}}"
_SITE_WIDE = "_site_wide"


def document() -> dict[str, Any]:
    """The whole document."""
    signed = [channel.signed[1] for channel in CHANNELS if channel.signed]
    schema_of, schemas = components([*(channel.payload for channel in CHANNELS), *signed])
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for channel in CHANNELS:
        for name, address in _addresses(channel):
            channels[name] = _channel(channel, address)
            operations[_operation_name(channel, name)] = _operation(channel, name)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "pos-agent, MQTT",
            "version": agent.__version__,
            "description": "What a payment terminal says and is told through the broker, seen from the terminal: "
            "it sends what is below agent/ and dev/, and receives what is below in/. docs/mqtt.md explains it.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "broker.example:8883",
                "protocol": "secure-mqtt",
                "protocolVersion": "5",
                "description": "MQTT 5 over TLS, mutual authentication; client id = terminal, session of 7 days",
            }
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "parameters": {name: {"description": text} for name, text in PARAMETERS.items()},
            "messages": {channel.name: _message(channel, schema_of) for channel in CHANNELS},
            "schemas": schemas,
        },
    }


def _addresses(channel: Channel) -> list[tuple[str, str]]:
    own = (channel.name, f"{_ROOT}/{{terminal}}/{channel.below}")
    site = (f"{channel.name}{_SITE_WIDE}", f"{_ROOT}/{topics.EVERY_TERMINAL}/{channel.below}")
    return [own, site] if channel.site_wide else [own]


def _channel(channel: Channel, address: str) -> dict[str, Any]:
    parameters = [name for name in PARAMETERS if f"{{{name}}}" in address]
    return {
        "address": address,
        "summary": channel.summary,
        "description": f"Published {channel.when}.",
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in parameters},
        "messages": {channel.name: {"$ref": f"#/components/messages/{channel.name}"}},
    }


def _operation_name(channel: Channel, name: str) -> str:
    return f"{_action(channel)}_{name}"


def _action(channel: Channel) -> str:
    return "send" if channel.sender is Sender.TERMINAL else "receive"


def _operation(channel: Channel, name: str) -> dict[str, Any]:
    return {
        "action": _action(channel),
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": channel.summary,
        "bindings": {"mqtt": {"qos": channel.qos, "retain": channel.retained, "bindingVersion": "0.2.0"}},
    }


def _message(channel: Channel, schema_of: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": channel.name,
        "title": channel.payload.__name__,
        "summary": channel.summary,
        "payload": schema_of[key_of(channel.payload)],
    }
    if channel.clears:
        message["description"] = "An empty payload takes the retained message away."
    if channel.signed:
        payload_type, decoded = channel.signed
        message["description"] = f"A DSSE envelope; payload is base64 of JSON with payloadType {payload_type}."
        message["x-payload-type"] = payload_type
        message["x-decoded-payload"] = schema_of[key_of(decoded)]
    return message
