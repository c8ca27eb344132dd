"""The arguments of the commands of this release: checked before anybody signs them. Pure.

The forms are the commands' own. The terminal decides in the end; this only spares an operator a thousand refusals. A
command that is not listed here goes out unchecked: the terminals may be newer than this program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from agent.commands.backup import BackupArguments, VerifyBackupArguments
from agent.commands.cancel import CancelArguments
from agent.commands.check_device import CheckDeviceArguments
from agent.commands.ping import PingArguments
from agent.commands.rebirth import RebirthArguments
from agent.commands.reinit import ReinitArguments
from agent.commands.reset import ResetArguments
from agent.errors import BadRequest


class ReasonArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """``lock``, ``unlock``, ``decommission``."""

    reason: str


_FORMS: Final[Mapping[str, type[Struct]]] = {
    "ping": PingArguments,
    "rebirth": RebirthArguments,
    "check_device": CheckDeviceArguments,
    "backup": BackupArguments,
    "verify_backup": VerifyBackupArguments,
    "cancel": CancelArguments,
    "reset": ResetArguments,
    "reinit": ReinitArguments,
    "lock": ReasonArguments,
    "unlock": ReasonArguments,
    "decommission": ReasonArguments,
}
_EXAMPLES: Final[Mapping[str, str]] = {
    "ping": "ping",
    "rebirth": "rebirth",
    "check_device": "check_device device=printer-0 level=internal (or external)",
    "backup": "backup kind=snapshot (or segment), of one place: target=NAME",
    "verify_backup": "verify_backup, or of one file: verify_backup backup_id=ID",
    "cancel": "cancel command_id=ID",
    "reset": "reset level=device device=printer-0; levels: reread, device, app, service, reboot, power_cycle",
    "reinit": "reinit scope=device device=printer-0; scopes: device, app, terminal",
    "lock": "lock reason=…",
    "unlock": "unlock reason=…",
    "decommission": "decommission reason=…",
}
EXAMPLES: Final = tuple(_EXAMPLES.values())
_NAMING_HARDWARE: Final = frozenset({"activate", "switch_provider"})


def check_arguments(name: str, arguments: Mapping[str, object]) -> None:
    """Nothing, when a terminal would take them.

    Raises:
        BadRequest: With the argument at fault and an example.
    """
    form = _FORMS.get(name)
    if form is None:
        return
    try:
        decoded = msgspec.convert(arguments, form)
    except msgspec.ValidationError as err:
        raise BadRequest(f"wrong arguments of {name}: {err}", hint=f"for example: {_EXAMPLES[name]}") from err
    asked = _not_together(decoded)
    if asked is not None:
        raise BadRequest(asked, hint=f"for example: {_EXAMPLES[name]}")


def needs_serial(name: str, arguments: Mapping[str, object]) -> bool:
    """Whether the order must name the piece of hardware, too."""
    return name in _NAMING_HARDWARE or (name == "reinit" and arguments.get("scope") == "terminal")


def people_by_default(name: str, arguments: Mapping[str, object]) -> int:
    """How many people must sign where the policy says nothing else."""
    forced = name == "reset" and arguments.get("force") is True
    return 2 if forced or needs_serial(name, arguments) or name == "decommission" else 1


def _not_together(decoded: Struct) -> str | None:
    """What is wrong between two arguments that are right by themselves; as every terminal would find it."""
    match decoded:
        case ResetArguments(level="reread" | "device" as level, device=None):
            return f"reset level={level} needs a device"
        case ResetArguments(level="app" | "service" | "reboot" as level, device=str()):
            return f"reset level={level} takes no device"
        case ResetArguments(level="reread" | "device" | "reboot" | "power_cycle" as level, unit=str()):
            return f"reset level={level} takes no unit"
        case ReinitArguments(scope="device", device=None):
            return "reinit scope=device needs a device"
        case ReinitArguments(scope="app" | "terminal" as scope, device=str()):
            return f"reinit scope={scope} takes no device"
        case _:
            return None
