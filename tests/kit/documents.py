"""The published documents as a stranger's tools use them: read from docs/, payloads validated by JSON Schema alone."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@cache
def document(name: str) -> dict[str, Any]:
    """``asyncapi`` or ``openrpc-payment`` or ``openrpc-control``."""
    read: dict[str, Any] = json.loads((DOCS / f"{name}.json").read_text())
    return read


def resolved(name: str, value: Any) -> Any:
    """What a ``$ref`` points at, and what that one points at."""
    while isinstance(value, dict) and "$ref" in value:
        found: Any = document(name)
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        value = found
    return value


def problems(name: str, schema: Any, value: Any) -> list[str]:
    """Where ``value`` is not what ``schema``, a part of the document, says."""
    whole = {"$ref": "#/checked", "checked": schema, "components": document(name)["components"]}
    found = Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER).iter_errors(value)
    return [f"{'/'.join(map(str, one.absolute_path))}: {one.message[:200]}" for one in found]


def channel_for(topic: str) -> tuple[str, dict[str, Any]] | None:
    """The AsyncAPI channel whose address a Topic Name has: its name and itself."""
    for name, channel in document("asyncapi")["channels"].items():
        if re.fullmatch(re.sub(r"\\{[a-z_]+\\}", "[^/]+", re.escape(channel["address"])), topic):
            return name, channel
    return None


def message_problems(topic: str, payload: bytes, *, qos: int, retained: bool) -> list[str]:
    """How a message differs from the AsyncAPI document; the document itself is believed."""
    found = channel_for(topic)
    if found is None:
        return [f"{topic}: no such channel"]
    name, channel = found
    binding = next(
        one["bindings"]["mqtt"]
        for one in document("asyncapi")["operations"].values()
        if one["channel"]["$ref"] == f"#/channels/{name}"
    )
    told = [] if (binding["qos"], binding["retain"]) == (qos, retained) else [f"{topic}: QoS {qos}, {retained=}"]
    (message,) = (resolved("asyncapi", one) for one in channel["messages"].values())
    if not payload:
        return told if "empty payload" in message.get("description", "") else [*told, f"{topic}: empty"]
    return told + [f"{topic}: {one}" for one in problems("asyncapi", message["payload"], json.loads(payload))]


def method(socket: str, name: str) -> dict[str, Any]:
    """One method of ``payment`` or ``control``."""
    (found,) = (one for one in document(f"openrpc-{socket}")["methods"] if one["name"] == name)
    return dict(found)


def call_problems(socket: str, name: str, params: Any, answer: dict[str, Any]) -> list[str]:
    """How a call and its answer differ from the OpenRPC document. Parameters are checked only of calls that succeed."""
    told = method(socket, name)
    document_name = f"openrpc-{socket}"
    if "error" in answer:
        codes = {resolved(document_name, one)["data"]["code"] for one in told["errors"]}
        code = answer["error"]["data"]["code"]
        return [] if code in codes else [f"{name}: error {code} is not among {sorted(codes)}"]
    found = problems(document_name, told["result"]["schema"], answer["result"])
    known = {one["name"]: one for one in told["params"]}
    found += [f"{name}: parameter {one} is not known" for one in params if one not in known]
    found += [f"{name}: parameter {one} is required" for one in known if known[one]["required"] and one not in params]
    for one, value in params.items():
        found += problems(document_name, known[one]["schema"], value) if one in known else []
    return found
