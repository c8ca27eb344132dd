"""Every command of this release, by name. A new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agent.commands.check_device import Check, build_check_device
from agent.commands.command import Command
from agent.commands.ping import build_ping

Commands = Mapping[str, Command[Any]]


def build_commands(*, check: Check, devices: Callable[[], frozenset[str]]) -> Commands:
    """The catalog, each command with what it needs."""
    commands: tuple[Command[Any], ...] = (
        build_ping(),
        build_check_device(check, devices),
    )
    return {command.name: command for command in commands}
