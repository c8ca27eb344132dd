"""``posctl status``, ``health``, ``ready``: how is this terminal, on one screen."""

from __future__ import annotations

import argparse

import msgspec

from agent.ctl import answers
from agent.ctl.advice import advice
from agent.ctl.client import ControlClient, decode
from agent.ctl.exit_codes import Exit
from agent.ctl.render.command import FINAL
from agent.ctl.render.status import device_lines, fault_lines, readiness_lines, status_lines
from agent.ctl.screen import Screen
from agent.ctl.verb import Verb, client, socket_options

_LATEST_COMMANDS = 50  # at most 32 wait and few run: every open one is among them


def _status(args: argparse.Namespace, screen: Screen) -> Exit:
    with client(args) as agent:
        info, health, readiness = (agent.call(method) for method in ("agent.info", "health.get", "readiness.get"))
        open_operations = _open_operations(agent)
    facts = (
        decode(info, answers.AgentInfo, "agent.info"),
        decode(health, answers.Health, "health.get"),
        decode(readiness, answers.Readiness, "readiness.get"),
    )
    if screen.as_json:
        screen.document({"info": info, "health": health, "readiness": readiness, "operations": open_operations})
    else:
        operations = [msgspec.json.decode(raw, type=answers.Operation) for raw in open_operations]
        screen.lines(status_lines(*facts, operations, advice=advice, style=screen.style))
    return Exit.DONE


def _open_operations(agent: ControlClient) -> list[msgspec.Raw]:
    method, params = "command.list", {"limit": _LATEST_COMMANDS}
    page = agent.call(method, params)
    states = decode(page, answers.OperationPage, method).items
    raw = msgspec.json.decode(page, type=_RawPage).items
    return [item for item, state in zip(raw, states, strict=True) if state.state not in FINAL]


class _RawPage(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw]


def _health(args: argparse.Namespace, screen: Screen) -> Exit:
    with client(args) as agent:
        raw = agent.call("health.get")
    health = decode(raw, answers.Health, "health.get")
    if screen.as_json:
        screen.document(raw)
    else:
        screen.lines([*device_lines(health.devices, screen.style), ""])
        screen.lines(fault_lines(health.faults, advice, screen.style))
    return Exit.DONE


def _ready(args: argparse.Namespace, screen: Screen) -> Exit:
    with client(args) as agent:
        raw = agent.call("readiness.get")
    readiness = decode(raw, answers.Readiness, "readiness.get")
    if screen.as_json:
        screen.document(raw)
    else:
        screen.lines(readiness_lines(readiness, screen.style))
    return Exit.DONE if readiness.ready else Exit.FAILED


STATUS = Verb("status", "everything at a glance", lambda parser: socket_options(parser, _status))
HEALTH = Verb("health", "every device and every active fault", lambda parser: socket_options(parser, _health))
READY = Verb(
    "ready",
    "can this terminal sell? exit 0 if it can, 1 with reasons if not",
    lambda parser: socket_options(parser, _ready),
)
