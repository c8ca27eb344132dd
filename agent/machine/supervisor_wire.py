"""What is said on the supervisor's socket: one JSON object a line, one answer for each. No I/O in this file."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from agent.contract.unit_name import UnitName
from agent.errors import BadRequest
from agent.machine.acts import Act, OrderId, Outcome, form_problem
from agent.machine.machine import UnitState

MAX_LINE_BYTES: Final = 4096


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """``state`` needs a unit; acts need an order id, and a unit unless it is a reboot; ``counters`` needs nothing."""

    verb: Literal["state", "counters", "restart", "reinitialise", "reboot"]
    unit: UnitName | None = None
    order_id: OrderId | None = None

    def act(self) -> Act:
        """The act that is asked for.

        Raises:
            BadRequest: A field is missing or too many.
        """
        if self.verb == "state" or self.verb == "counters" or self.order_id is None:  # noqa: PLR1714  # mypy narrows it
            raise BadRequest("an act needs an order id", field="order_id")
        act = Act(self.order_id, self.verb, self.unit)
        if (problem := form_problem(act)) is not None:
            raise BadRequest(problem, field="unit")
        return act


class UnitCounts(Struct, frozen=True, forbid_unknown_fields=True):
    """One unit since the supervisor started. ``starts`` counts its processes; ``watchdog`` those that hung."""

    unit: str
    starts: int
    watchdog: int
    emptied: int


class Counters(Struct, frozen=True, forbid_unknown_fields=True):
    """``acts``: order id → how often its act was begun, since ever. ``reboots``: since the supervisor started."""

    units: tuple[UnitCounts, ...]
    acts: dict[str, Annotated[int, Meta(ge=0)]]
    reboots: int


class Answer(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Exactly one field is given."""

    outcome: Outcome | None = None
    state: UnitState | None = None
    counters: Counters | None = None
    problem: str | None = None


def decode_request(line: bytes) -> Request:
    """One line from a client.

    Raises:
        BadRequest: Not a request.
    """
    try:
        return msgspec.json.decode(line, type=Request)
    except (msgspec.MsgspecError, UnicodeDecodeError) as err:
        raise BadRequest("not a request of this socket") from err


def decode_answer(line: bytes) -> Answer | None:
    """One line from the supervisor; None when it is none."""
    try:
        return msgspec.json.decode(line, type=Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def encode_line(message: Request | Answer) -> bytes:
    """The message and its line end."""
    return msgspec.json.encode(message) + b"\n"
