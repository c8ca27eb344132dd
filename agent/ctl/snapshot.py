"""Everything that ``status`` and ``top`` show, and the calls that bring it. Fetching is the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from agent.contract.command import State
from agent.ctl import answers
from agent.ctl.client import CallFailed, ControlClient, decode

_LATEST_COMMANDS = 50  # at most 32 wait and few run: every open one is among them
_FINAL = frozenset(state.value for state in State if state.is_final)

CALLS: Mapping[str, Mapping[str, object]] = {
    "agent.info": {},
    "health.get": {},
    "readiness.get": {},
    "command.list": {"limit": _LATEST_COMMANDS},
    "metrics.get": {},
}
NOT_ESSENTIAL = frozenset({"metrics.get"})
"""What may fail without anything else being kept back."""
UNKNOWN = msgspec.Raw(b"{}")
"""In place of such an answer."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The terminal at one moment. ``operations``: those that have not come to their end, the newest first.

    ``document`` holds the same as the agent sent it, for JSON.
    """

    at: datetime
    info: answers.AgentInfo
    health: answers.Health
    readiness: answers.Readiness
    operations: tuple[answers.Operation, ...]
    document: Mapping[str, object]
    copies: answers.StoreFigures = answers.NOTHING_TOLD


class _RawPage(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw]


def fetch(agent: ControlClient) -> Snapshot:
    """Ask for all of it, one call after the other.

    Raises:
        AgentError: As `ControlClient.call` does.
    """
    results: dict[str, msgspec.Raw] = {}
    for method, params in CALLS.items():
        try:
            results[method] = agent.call(method, params)
        except CallFailed:
            if method not in NOT_ESSENTIAL:
                raise
    return assemble(results, datetime.now(UTC))


def copies(agent: ControlClient) -> answers.StoreFigures:
    """Where the journal's entries have copies, as far as this agent tells.

    Raises:
        AgentError: As `ControlClient.call` does, but for an agent that cannot answer this one.
    """
    try:
        return agent.fetch("metrics.get", answers.Metrics).store
    except CallFailed:
        return answers.NOTHING_TOLD


def assemble(results: Mapping[str, msgspec.Raw], at: datetime) -> Snapshot:
    """The results of all `CALLS` put together, those that are `NOT_ESSENTIAL` where they are there.

    Raises:
        AgentUnreachable: One is not of the form that this program knows.
    """
    page = results["command.list"]
    states = decode(page, answers.OperationPage, "command.list").items
    raw = decode(page, _RawPage, "command.list").items
    open_raw = [one for one, state in zip(raw, states, strict=True) if state.state not in _FINAL]
    figures = decode(results.get("metrics.get", UNKNOWN), answers.Metrics, "metrics.get").store
    return Snapshot(
        at=at,
        info=decode(results["agent.info"], answers.AgentInfo, "agent.info"),
        health=decode(results["health.get"], answers.Health, "health.get"),
        readiness=decode(results["readiness.get"], answers.Readiness, "readiness.get"),
        operations=tuple(state for state in states if state.state not in _FINAL),
        document={
            "info": results["agent.info"],
            "health": results["health.get"],
            "readiness": results["readiness.get"],
            "operations": open_raw,
        },
        copies=figures,
    )
