"""An operator's words → the payload of a signed order, one for each terminal. Pure: the same words, the same bytes.

Source: contract of the product, "Commands". The time of issue is read out of the order's own id (UUID version 7),
so that a retry with the same id and words is the very same order; a terminal takes other content under a known id
for a replay attack.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from agent.contract import topics
from agent.contract.command import CommandRequest, Window
from agent.errors import BadRequest
from agent.fleet.arguments import check_arguments, needs_serial
from agent.runtime.clock import rfc3339

LONGEST_LIFE = timedelta(days=30)
EVERY_TERMINAL = topics.EVERY_TERMINAL
FOR_EVERY_TERMINAL = frozenset({"ping", "rebirth", "check_device"})
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DURATION = re.compile(r"([0-9]{1,6})(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_WINDOW = re.compile(r"((?:[01][0-9]|2[0-3]):[0-5][0-9])-((?:[01][0-9]|2[0-3]):[0-5][0-9])")


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """The payload as it is written: what was not said is left out."""

    command_id: str
    name: str
    target: dict[str, str]
    issued_at: str
    expires_at: str
    arguments: dict[str, object]
    reason: str | None = None
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator said, for all terminals alike."""

    name: str
    arguments: dict[str, object]
    life: timedelta
    reason: str | None = None
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Recipient:
    """One terminal (or ``_all``) and the id of its own order; the id says when it was issued."""

    terminal: str
    command_id: str
    serial: str | None = None


def order_for(wish: Wish, recipient: Recipient) -> bytes:
    """The payload for one terminal, JSON.

    Raises:
        BadRequest: A name, id, life, target or arguments that no terminal would take.
    """
    if not timedelta(0) < wish.life <= LONGEST_LIFE:
        raise BadRequest("an order lives from one second to 30 days", field="--expires")
    everyone = recipient.terminal == EVERY_TERMINAL
    check_arguments(wish.name, wish.arguments)
    if everyone and (wish.name not in FOR_EVERY_TERMINAL or wish.arguments.get("level") == "external"):
        raise BadRequest(
            f"{wish.name} cannot be ordered of a whole site by one order",
            hint="only ping, rebirth and check_device level=internal can; --every gives each terminal its own order",
        )
    if needs_serial(wish.name, wish.arguments) and recipient.serial is None:
        raise BadRequest(
            f"{wish.name} needs the serial of the hardware that is meant",
            field="--serial",
            hint=f"--serial SERIAL, for several --serial {recipient.terminal}=SERIAL each, or @FILE with both words",
        )
    issued_at = issued_at_of(recipient.command_id)
    target = {"terminal": recipient.terminal}
    order = Order(
        command_id=recipient.command_id,
        name=wish.name,
        target=target if recipient.serial is None else {**target, "serial": recipient.serial},
        issued_at=rfc3339(issued_at),
        expires_at=rfc3339(issued_at + wish.life),
        arguments=wish.arguments,
        reason=wish.reason,
        window=wish.window,
    )
    payload = msgspec.json.encode(order)
    try:
        msgspec.json.decode(payload, type=CommandRequest)  # as the terminal will read it
    except msgspec.ValidationError as err:
        raise BadRequest(f"no terminal would take this order: {err}") from err
    return payload


def issued_at_of(command_id: str) -> datetime:
    """The time inside a UUID version 7.

    Raises:
        BadRequest: It is no lower-case UUID of version 7.
    """
    try:
        value = uuid.UUID(command_id)
    except ValueError:
        value = None
    if value is None or value.version != 7 or str(value) != command_id:
        raise BadRequest(
            "not an id of an earlier order: a UUID of version 7 in lower case",
            field="--command-id",
            hint="leave it out for a new order; the id of each is printed when it is sent",
        )
    return datetime.fromtimestamp((value.int >> 80) / 1000, UTC)


def identity(text: str, field: str) -> str:
    """A site or terminal as it may stand in a Topic Name.

    Raises:
        BadRequest: Another character than letters, digits, ``-`` and ``_``, or longer than 64.
    """
    if not _ID.fullmatch(text):
        raise BadRequest("a letter or digit, then letters, digits, - and _, at most 64", field=field)
    return text


def life(text: str) -> timedelta:
    """``90s``, ``30m``, ``1h``, ``7d``.

    Raises:
        ValueError: Another form.
    """
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise ValueError("a time is written as 90s, 30m, 1h, 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def window(text: str) -> Window:
    """``02:00-05:00``.

    Raises:
        ValueError: Another form.
    """
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise ValueError("a window is written as 02:00-05:00")
    return Window(match[1], match[2])
