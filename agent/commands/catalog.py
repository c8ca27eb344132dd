"""Every command of this release, by name. A new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.commands.backup import build_backup, build_verify_backup
from agent.commands.cancel import build_cancel
from agent.commands.check_device import build_check_device
from agent.commands.command import Command
from agent.commands.means import Means
from agent.commands.ping import build_ping
from agent.commands.rebirth import build_rebirth
from agent.commands.reinit import build_reinit
from agent.commands.reset import build_reset

Commands = Mapping[str, Command[Any]]


def build_commands(means: Means) -> Commands:
    """The catalog, each command with what it needs."""
    commands: tuple[Command[Any], ...] = (
        build_ping(),
        build_rebirth(means),
        build_check_device(means),
        build_backup(means),
        build_verify_backup(means),
        build_cancel(means),
        build_reset(means),
        build_reinit(means),
    )
    return {command.name: command for command in commands}
