"""What is known of each terminal that is watched. Pure: messages in, a row for each terminal out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from agent.contract import topics
from agent.fleet.messages import FINAL, OperationState, Readiness, Status, read_faults, read_state


@dataclass
class _Terminal:
    online: bool | None = None  # None: it never said
    ready: bool | None = None
    faults: tuple[str, ...] = ()
    orders: dict[str, str] = field(default_factory=dict)  # command id → name and state, while open


class Row(msgspec.Struct, frozen=True):
    """One terminal. ``link`` and ``ready`` in words; ``faults``: codes; ``orders``: open ones."""

    terminal: str
    link: str
    ready: str
    faults: list[str]
    orders: list[str]


class Roster:
    """``expected``: terminals that were named; others join when they are heard of."""

    def __init__(self, expected: Iterable[str] = ()) -> None:
        self._terminals: dict[str, _Terminal | None] = dict.fromkeys(expected)
        self._seen: dict[tuple[str, str], int] = {}

    def take(self, terminal: str, below: str, payload: bytes) -> bool:
        """Note a message; False when its topic held the very same before (a new link brings all of it again)."""
        digest = hash(payload)
        if self._seen.get((terminal, below)) == digest:
            return False
        self._seen[terminal, below] = digest
        known = self._terminals.get(terminal)
        if known is None:
            known = self._terminals[terminal] = _Terminal()
        with contextlib.suppress(
            ValueError, RecursionError
        ):  # shown as such by whoever prints it; what was known stays
            _note(known, below, payload)
        return True

    def unheard(self) -> list[str]:
        """Named terminals of which the broker had nothing."""
        return [name for name, known in self._terminals.items() if known is None]

    def rows(self) -> list[Row]:
        """Every terminal, by name."""
        return [_row(name, known) for name, known in sorted(self._terminals.items())]


def _note(known: _Terminal, below: str, payload: bytes) -> None:
    if below == topics.STATUS:
        known.online = msgspec.json.decode(payload, type=Status).online if payload else None
    elif below == topics.READINESS:
        known.ready = msgspec.json.decode(payload, type=Readiness).ready if payload else None
    elif below == topics.FAULTS:
        known.faults = tuple(read_faults(payload)) if payload else ()
    elif below.startswith("agent/op/"):
        state = read_state(payload)
        command_id = below.rpartition("/")[2]
        if state is None or state.state in FINAL:
            known.orders.pop(command_id, None)
        else:
            known.orders[command_id] = _open(state)


def _open(state: OperationState) -> str:
    return f"{state.name} {state.state}"


def _row(name: str, known: _Terminal | None) -> Row:
    if known is None:
        return Row(name, "never heard of", "?", [], [])
    link = {True: "online", False: "offline", None: "no status"}[known.online]
    ready = {True: "ready", False: "not ready", None: "?"}[known.ready]
    if known.online is False and known.ready is not None:
        ready = f"{ready}, when last heard"
    return Row(name, link, ready, list(known.faults), list(known.orders.values()))
