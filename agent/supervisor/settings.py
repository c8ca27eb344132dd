"""The supervisor's configuration: one TOML file, strict. Every path in it lies below ``folder``.

folder = "/srv/terminal"                             # absolute; everything else is relative to it
socket = "run/machine.sock"                          # 0600; see agent/machine/supervisor_wire.py
ledger = "state/machine.json"                        # what was done under which order
boot_id = "proc/sys/kernel/random/boot_id"           # written at every start and reboot

[[unit]]
name = "payment.service"
argv = ["/usr/bin/python3", "payment.py"]            # started in ``folder``, never through a shell
kind = "simple"                                      # or "notify": it says READY=1, sd_notify(3)
cache = ["cache/payment"]                            # what `reinitialise` empties
after = ["broker.service"]                           # started before this one
"""

from __future__ import annotations

import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from agent.contract.unit_name import UnitName
from agent.errors import ConfigInvalid

Seconds = Annotated[float, Meta(gt=0, le=86400)]
Relative = Annotated[str, Meta(pattern=r"^[^/\0][^\0]*\Z", max_length=200)]
AbsolutePath = Annotated[str, Meta(pattern=r"^/[^\0]*\Z")]
EnvironmentName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")]
NoNul = Annotated[str, Meta(pattern=r"^[^\0]*\Z")]


class UnitSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One child. ``watchdog_s``: a ``notify`` unit that says no WATCHDOG=1 for so long is ended and started again."""

    name: UnitName
    argv: Annotated[tuple[NoNul, ...], Meta(min_length=1)]
    environment: dict[EnvironmentName, NoNul] = {}
    kind: Literal["simple", "notify"] = "simple"
    cache: tuple[Relative, ...] = ()
    after: tuple[UnitName, ...] = ()
    watchdog_s: Seconds | None = None
    start_s: Seconds = 60.0
    stop_s: Seconds = 15.0
    restart_first_s: Seconds = 0.2
    restart_limit_s: Seconds = 30.0


class SupervisorSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. ``reboot_interval_s``: no reboot sooner after the last one."""

    folder: AbsolutePath
    unit: Annotated[tuple[UnitSettings, ...], Meta(min_length=1)]
    socket: Relative = "run/machine.sock"
    ledger: Relative = "state/machine.json"
    boot_id: Relative = "proc/sys/kernel/random/boot_id"
    log: Relative = "log"
    reboot_interval_s: Annotated[float, Meta(ge=0, le=86400)] = 600.0


def read_settings(file: Path) -> SupervisorSettings:
    """Read and check ``file``.

    Raises:
        ConfigInvalid: With every problem that was found.
    """
    try:
        settings = msgspec.convert(tomllib.loads(file.read_text()), SupervisorSettings)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as err:
        raise ConfigInvalid([f"{file}: {err}"]) from err
    problems = [f"{file}: {problem}" for problem in _problems(settings)]
    if problems:
        raise ConfigInvalid(problems)
    return settings


def start_order(units: tuple[UnitSettings, ...]) -> list[UnitSettings]:
    """Each unit after those it names in ``after``, else as written.

    Raises:
        ConfigInvalid: They wait for each other in a circle.
    """
    ordered: list[UnitSettings] = []
    left = list(units)
    while left:
        started = {unit.name for unit in ordered}
        ready = next((unit for unit in left if started.issuperset(unit.after)), None)
        if ready is None:
            raise ConfigInvalid([f"these units wait for each other: {', '.join(unit.name for unit in left)}"])
        ordered.append(ready)
        left.remove(ready)
    return ordered


def _problems(settings: SupervisorSettings) -> list[str]:
    names = [unit.name for unit in settings.unit]
    problems = [f"unit {name} stands twice" for name in sorted({name for name in names if names.count(name) > 1})]
    paths = [settings.socket, settings.ledger, settings.boot_id, settings.log]
    for unit in settings.unit:
        paths += unit.cache
        problems += [f"{unit.name}: after names {one}, which is no unit" for one in unit.after if one not in names]
        if unit.watchdog_s is not None and unit.kind != "notify":
            problems.append(f'{unit.name}: watchdog_s needs kind = "notify"')
    problems += [f"the path {path} leaves the folder" for path in paths if ".." in PurePosixPath(path).parts]
    kept = {PurePosixPath(path) for path in (settings.socket, settings.ledger, settings.boot_id, settings.log)}
    for unit in settings.unit:
        for path in map(PurePosixPath, unit.cache):
            if any(path == one or path in one.parents for one in kept) or not path.parts:
                problems.append(f"{unit.name}: cache {path} holds what the supervisor itself needs")
    if not problems:
        try:
            start_order(settings.unit)
        except ConfigInvalid as err:
            problems += err.problems
    return problems
