"""The payload of an authentic envelope: strictly read, or at least far enough to say who asked for what. Pure.

An order of wrong form still gets an answer when it can be known by its id and is for this terminal. A name that stands
twice makes it wrong, because two readers might read two orders. What the card-data guard catches is not kept.
"""

from __future__ import annotations

import hashlib
from datetime import UTC
from typing import Final

import msgspec
from msgspec import Struct

from agent.contract import card_data
from agent.contract.command import CommandRequest, LocalOrder, usable_id, usable_name
from agent.trust.envelope import ParsedObject, parse_leniently

_IDENTIFYING: Final = frozenset({"command_id", "name", "target", "terminal", "serial"})


class ReadOrder(Struct, frozen=True):
    """``request`` is None when the form is wrong; ``problem`` says where. ``content``: canonical JSON, to be kept."""

    command_id: str
    name: str
    terminal: str
    serial: str | None
    request: CommandRequest | None
    problem: str
    content: bytes
    digest: bytes


def read_order(payload: bytes, topic_command: str | None) -> ReadOrder | None:
    """Read an order; None when it cannot be known by an id, or does not say for which terminal it is.

    Args:
        topic_command: The command that the Topic Name spoke of; None where there was no topic.
    """
    parsed = parse_leniently(payload)
    head = None if parsed is None or parsed.repeated & _IDENTIFYING else _head(parsed, topic_command)
    if parsed is None or head is None:
        return None
    command_id, name, terminal, serial = head
    request, problem, content = _strictly(payload, parsed, topic_command)
    digest = hashlib.sha256(content or b"unread\0" + payload).digest()
    return ReadOrder(command_id, name, terminal, serial, request, problem, content or b"{}", digest)


def content_of(request: CommandRequest) -> bytes:
    """What an order says as canonical JSON: however it was written, the same meaning is the same bytes.

    Raises:
        ValueError, RecursionError: The arguments hold what cannot be written again.
    """
    values = {
        "command_id": request.command_id,
        "name": request.name,
        "target": request.target,
        "issued_at": request.issued_at.astimezone(UTC),
        "expires_at": request.expires_at.astimezone(UTC),
        "arguments": msgspec.json.decode(request.arguments),
        "reason": request.reason,
        "window": request.window,
    }
    return msgspec.json.encode(values, order="deterministic")


def digest_of_local(order: LocalOrder) -> bytes:
    """SHA-256 of what a local order says; never equal to that of a signed one."""
    values = ["local", order.command_id, order.name, order.arguments or {}, order.reason]
    return hashlib.sha256(msgspec.json.encode(values, order="deterministic")).digest()


def _head(parsed: ParsedObject, topic_command: str | None) -> tuple[str, str, str, str | None] | None:
    values = parsed.values
    command_id = usable_id(values.get("command_id"))
    name = usable_name(values.get("name")) or usable_name(topic_command)
    target = values.get("target")
    terminal = target.get("terminal") if isinstance(target, dict) else None
    serial = target.get("serial") if isinstance(target, dict) else None
    if command_id is None or name is None or not isinstance(terminal, str):
        return None
    if card_data.scan_request_id(command_id) or card_data.scan_text(name):
        return None
    return command_id, name, terminal, serial if isinstance(serial, str) else None


def _strictly(
    payload: bytes, parsed: ParsedObject, topic_command: str | None
) -> tuple[CommandRequest | None, str, bytes]:
    """The request, or where it is wrong; and its content, empty when it cannot or must not be kept."""
    if parsed.repeated:
        return None, "a name stands twice in one object", b""
    try:
        request = msgspec.json.decode(payload, type=CommandRequest)
        content = content_of(request)
    except (ValueError, RecursionError) as err:  # MsgspecError is a ValueError
        return None, f"wrong at {_place(err)}", b""
    if card_data.scan_text(request.reason or "") or card_data.scan_tree(parsed.values.get("arguments")):
        return None, "it holds what looks like card data", b""
    if topic_command is not None and topic_command != request.name:
        return None, "the topic names another command than the order", content
    if request.window is not None and request.window.begin == request.window.end:
        return None, "the window is empty", content
    return request, "", content


def _place(err: Exception) -> str:
    """A path of known field names; anything else msgspec says may repeat what was sent."""
    place = str(err).rpartition(" - at ")[2].strip("`").removeprefix("$.")
    return place if place.partition(".")[0] in CommandRequest.__struct_fields__ else "an unknown place"
