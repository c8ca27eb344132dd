"""What terminals publish → one line for a person, or facts for the tally of an order. Pure.

A fleet has terminals of many releases: fields that are not known are passed over, and a message of a form that is not
known is shown as such and never ends the program. Every text here came over the network; the screen makes it plain.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from agent.contract import topics
from agent.contract.command import State
from agent.fleet.screen import BAD, DIM, GOOD, WARN

FINAL = frozenset(state.value for state in State if state.is_final)
_STATE_TONES = {"ok": GOOD, "succeeded": GOOD, "degraded": WARN, "unknown": WARN, "waiting": WARN, "cancelled": WARN}
_BAD_STATES = frozenset({"failed", "rolled_back", "rejected", "expired"})


class Said(NamedTuple):
    """One message for a person. ``about`` is its subject, ``tone`` colours the text."""

    about: str
    text: str
    tone: str = ""


class Reason(msgspec.Struct, frozen=True):
    code: str = ""
    text: str | None = None


class OperationState(msgspec.Struct, frozen=True):
    """A command's state as published: always the whole of it."""

    command_id: str
    name: str
    state: str
    rev: int = 0
    step: str | int | None = None
    steps: int | list[str] | None = None
    progress: float | None = None
    reason: Reason | None = None


class Status(msgspec.Struct, frozen=True):
    """``agent/status``."""

    online: bool
    conn: int | None = None


class Readiness(msgspec.Struct, frozen=True):
    """``agent/readiness``."""

    ready: bool
    reasons: list[Reason] = []


class _Fault(msgspec.Struct, frozen=True):
    code: str
    device: str | None = None
    severity: str | None = None


class _Faults(msgspec.Struct, frozen=True):
    faults: list[_Fault]


class _Health(msgspec.Struct, frozen=True):
    device: str
    state: str
    power_state: str | None = None
    detail: str | None = None


class _Birth(msgspec.Struct, frozen=True):
    model: str | None = None
    version: str | None = None


class Origin(NamedTuple):
    """A received Topic Name taken apart."""

    site: str
    terminal: str
    below: str


def origin(topic: str) -> Origin | None:
    """Which terminal published on ``topic``, and what below its own level; None for a topic of another kind."""
    head = f"{topics.ROOT}/"
    parts = topic[len(head) :].split("/", 2) if topic.startswith(head) else []
    return Origin(*parts) if len(parts) == 3 and all(parts) else None


def read_state(payload: bytes) -> OperationState | None:
    """A command's state; None when it is none."""
    try:
        return msgspec.json.decode(payload, type=OperationState)
    except (ValueError, RecursionError):
        return None


def is_online(payload: bytes) -> bool:
    """Whether a status says so; False when it is none."""
    try:
        return msgspec.json.decode(payload, type=Status).online
    except msgspec.DecodeError:
        return False


def read_faults(payload: bytes) -> list[str]:
    """Codes of all active faults.

    Raises:
        ValueError, RecursionError: It is no list of faults.
    """
    return [fault.code for fault in msgspec.json.decode(payload, type=_Faults).faults]


def describe(below: str, payload: bytes) -> Said | None:
    """A line about one message; None for what `watch` does not show (metrics, journal uploads)."""
    if below.startswith(("agent/m/", "in/")) or below in {"agent/txn", "agent/audit", topics.CONFIG}:
        return None
    about = below.removeprefix("agent/").removesuffix("/health")
    if not payload:
        return Said(about, "cleared", DIM)
    try:
        return _describe(below, about, payload)
    except (ValueError, RecursionError):
        return Said(about, f"not of a form this posctl knows ({len(payload)} bytes)", WARN)


def describe_state(state: OperationState) -> Said:
    """A command's state in words."""
    parts = [state.state]
    under_way = state.state not in FINAL
    if under_way and state.step is not None:
        steps = len(state.steps) if isinstance(state.steps, list) else state.steps
        parts.append(f"step {state.step}" + (f" of {steps}" if steps is not None else ""))
    if under_way and state.progress is not None:
        parts.append(f"{state.progress:.0f} %")
    text = ", ".join(parts)
    if state.reason is not None:
        text += f" ({reason_text(state)})"
    return Said(f"{state.name} {state.command_id}", text, state_tone(state.state))


def reason_text(state: OperationState) -> str:
    if state.reason is None:
        return ""
    return f"{state.reason.code}: {state.reason.text}" if state.reason.text else state.reason.code


def state_tone(state: str) -> str:
    return BAD if state in _BAD_STATES else _STATE_TONES.get(state, "")


def _describe(below: str, about: str, payload: bytes) -> Said:
    if below == topics.STATUS:
        status = msgspec.json.decode(payload, type=Status)
        conn = f" (connection {status.conn})" if status.conn is not None else ""
        return Said(about, ("online" if status.online else "offline") + conn, GOOD if status.online else BAD)
    if below == topics.READINESS:
        readiness = msgspec.json.decode(payload, type=Readiness)
        why = "; ".join(f"{reason.code} {reason.text or ''}".rstrip() for reason in readiness.reasons)
        said = "ready" if readiness.ready else "not ready"
        return Said(about, f"{said}: {why}" if why else said, GOOD if readiness.ready else BAD)
    if below == topics.FAULTS:
        faults = msgspec.json.decode(payload, type=_Faults).faults
        listed = ", ".join(" ".join(filter(None, (fault.code, fault.severity, fault.device))) for fault in faults)
        return Said(about, listed or "none", BAD if faults else GOOD)
    if below == topics.BIRTH:
        birth = msgspec.json.decode(payload, type=_Birth)
        known = [f"model {birth.model}" if birth.model else "", f"version {birth.version}" if birth.version else ""]
        return Said(about, ", ".join(filter(None, known)) or "here", DIM)
    if below.startswith("dev/") and below.endswith("/health"):
        health = msgspec.json.decode(payload, type=_Health)
        power = f", power {health.power_state}" if health.power_state else ""
        detail = f": {health.detail}" if health.detail else ""
        tone = BAD if health.state == "failed" else _STATE_TONES.get(health.state, "")
        return Said(about, health.state + power + detail, tone)
    if below.startswith("agent/op/"):
        state = describe_state(msgspec.json.decode(payload, type=OperationState))
        return Said(f"op {state.about}", state.text, state.tone)
    if below.startswith("agent/e/"):
        data = msgspec.json.decode(payload, type=dict[str, object]).get("data")
        return Said(about.replace("e/", "event ", 1), msgspec.json.encode(data).decode() if data else "", WARN)
    return Said(about, f"{len(payload)} bytes", DIM)
