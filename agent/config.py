"""The agent's settings: TOML with drop-ins, strict, every problem at once, and the last good copy to fall back on.

Read by ``boot.py`` and ``__main__.py`` only; rooms are given plain values. ``config/agent.toml`` explains every key.
Drop-ins (``agent.d/*.toml`` beside the file, in name order) are laid over it: tables merge, everything else replaces.
"""

from __future__ import annotations

import copy
import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import structlog
from msgspec import Meta, Struct

from agent.contract.unit_name import UnitName
from agent.devices import Roots, fit
from agent.errors import ConfigInvalid
from agent.journal_settings import Backup, Journal, Upload, backup_problems
from agent.model_file import Model, read_model
from agent.network_settings import Network, Reach, reach_problems
from agent.runtime.durable_files import write_durably
from agent.runtime.lean_imports import forget
from agent.strict_toml import Reader, Unreadable, read_table

log = structlog.get_logger("config")

DEFAULT_FILE = Path("/etc/pos-agent/agent.toml")
DEFAULT_STATE = Path("/var/lib/pos-agent")
GOOD_COPY = "agent.toml.good"
GOOD_MODEL = "model.toml.good"

# Not `$`: it would let a line break through at the end, into topics and paths.
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")]
Word = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,32}\Z")]
Seconds = Annotated[float, Meta(gt=0, le=86400)]
AbsolutePath = Annotated[str, Meta(pattern=r"^/[^\x00-\x1f]{0,4000}\Z")]
Host = Annotated[str, Meta(pattern=r"^[!-~]{1,253}\Z")]


class Terminal(Struct, frozen=True, forbid_unknown_fields=True):
    site: Id
    terminal: Id
    serial: Id
    model: Id | None = None


class Binding(Struct, frozen=True, forbid_unknown_fields=True):
    provider: Word
    mid: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,15}\Z")]
    tid: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,8}\Z")]


class Application(Struct, frozen=True, forbid_unknown_fields=True):
    name: Id
    unit: UnitName


class Paths(Struct, frozen=True, forbid_unknown_fields=True):
    state: AbsolutePath = str(DEFAULT_STATE)
    run: AbsolutePath = "/run/pos-agent"
    sysfs: AbsolutePath = "/sys"
    procfs: AbsolutePath = "/proc"
    dev: AbsolutePath = "/dev"
    keypad_reports: AbsolutePath = "/run/pos-agent-keypad"


class Uplink(Struct, frozen=True, forbid_unknown_fields=True):
    host: Host
    port: Annotated[int, Meta(ge=1, le=65535)] = 8883
    protocol: Literal["5", "3.1.1"] = "5"
    tls: bool = True
    ca_file: AbsolutePath | None = None
    certificate_file: AbsolutePath | None = None
    key_file: AbsolutePath | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=1200)] = 60
    backoff_first_s: Seconds = 1.0
    backoff_limit_s: Seconds = 120.0
    down_fault_after_s: Seconds = 60.0
    metrics_interval_s: Seconds = 60.0


class Trust(Struct, frozen=True, forbid_unknown_fields=True):
    policy: AbsolutePath = "/etc/pos-agent/trust/policy.json"
    tuf_root: AbsolutePath = "/etc/pos-agent/trust/root.json"


class ClockTrust(Struct, frozen=True, forbid_unknown_fields=True):
    trust: Literal["kernel", "assume"] = "kernel"


class Device(Struct, frozen=True, forbid_unknown_fields=True):
    driver: Id | None = None
    port: AbsolutePath | None = None


class Machine(Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["systemd", "supervisor", "none"] | None = None
    own_unit: UnitName = "pos-agent.service"
    units: tuple[UnitName, ...] = ()
    socket: AbsolutePath | None = None


class Health(Struct, frozen=True, forbid_unknown_fields=True):
    interval_s: Seconds = 10.0
    read_deadline_s: Seconds = 2.0


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration, as written."""

    mode: Literal["production", "development"]
    terminal: Terminal
    binding: tuple[Binding, ...] = ()
    application: tuple[Application, ...] = ()
    paths: Paths = Paths()
    uplink: Uplink | None = None
    trust: Trust = Trust()
    clock: ClockTrust = ClockTrust()
    machine: Machine = Machine()
    devices: dict[Id, Device] = {}
    network: Network = Network()
    reach: tuple[Reach, ...] = ()
    health: Health = Health()
    journal: Journal = Journal()
    backup: Backup = Backup()
    upload: Upload = Upload()
    log: Log = Log()


class Loaded(Struct, frozen=True):
    """A usable configuration. ``problems`` is not empty when it is the last good copy, used in place of a bad file."""

    settings: Settings
    model: Model | None
    table: dict[str, Any]
    model_text: bytes | None
    problems: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the effective content, 64 hex characters: equal content, equal digest, whatever the files."""
        canonical = msgspec.json.encode(self.table, order="deterministic")
        return hashlib.sha256(canonical + b"\0" + (self.model_text or b"")).hexdigest()


def load(file: Path) -> Loaded:
    """Read and check ``file``, its drop-ins and its model file.

    Raises:
        ConfigInvalid: With every problem; nothing is used.
    """
    table, origins, problems = _read_all(file)
    return _check(file, table, origins, problems)


def load_or_last_good(file: Path) -> Loaded:
    """As `load`; a bad configuration is replaced by the last good copy, and says so in ``problems``.

    Raises:
        ConfigInvalid: Bad, and there is no usable good copy.
    """
    table, origins, problems = _read_all(file)
    try:
        return _check(file, table, origins, problems)
    except ConfigInvalid as err:
        paths = table.get("paths")
        state = paths.get("state") if isinstance(paths, dict) else None
        folder = Path(state) if isinstance(state, str) and state.startswith("/") else DEFAULT_STATE
        good = _good_copy(folder)
        if good is None:
            raise
        return Loaded(good.settings, good.model, good.table, good.model_text, tuple(err.problems))


def good_copy_files(loaded: Loaded) -> dict[str, bytes | None]:
    """What the last good copy is made of: file name below ``paths.state`` → content; None where there must be none."""
    import tomli_w  # noqa: PLC0415  # needed once, at a start

    return {GOOD_COPY: tomli_w.dumps(loaded.table).encode(), GOOD_MODEL: loaded.model_text}


def keep_good_copy(loaded: Loaded) -> None:
    """Write the last good copy when this configuration is another one; nothing is written otherwise."""
    if loaded.problems:
        return
    files = good_copy_files(loaded)
    forget("tomli_w")
    for name, content in files.items():
        path = Path(loaded.settings.paths.state) / name
        try:
            if content is None:
                path.unlink(missing_ok=True)
            elif not path.exists() or path.read_bytes() != content:
                write_durably(path, content)
        except OSError as err:
            log.error("config.good_copy_failed", file=name, reason=err.strerror)


def _good_copy(folder: Path) -> Loaded | None:
    try:
        file = folder / GOOD_COPY
        return _check(file, read_table(file), {}, [], model_file=folder / GOOD_MODEL)
    except (ConfigInvalid, Unreadable):
        return None


def _read_all(file: Path) -> tuple[dict[str, Any], dict[str, Path], list[str]]:
    table: dict[str, Any] = {}
    origins: dict[str, Path] = {}
    problems: list[str] = []
    for one in [file, *sorted((file.parent / "agent.d").glob("*.toml"))]:
        try:
            _merge(table, read_table(one), one, origins, "")
        except Unreadable as err:
            problems.append(str(err))
    return table, origins, problems


def _merge(into: dict[str, Any], new: dict[str, Any], file: Path, origins: dict[str, Path], at: str) -> None:
    for key, value in new.items():
        where = f"{at}{key}"
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value, file, origins, f"{where}.")
            continue
        into[key] = copy.deepcopy(value)
        _remember(value, file, origins, where)


def _remember(value: object, file: Path, origins: dict[str, Path], where: str) -> None:
    origins[where] = file
    if isinstance(value, dict):
        for key, item in value.items():
            _remember(item, file, origins, f"{where}.{key}")


def _check(
    file: Path,
    table: dict[str, Any],
    origins: dict[str, Path],
    problems: list[str],
    model_file: Path | None = None,
) -> Loaded:
    if problems and not table:
        raise ConfigInvalid(problems)
    reader = Reader(file, origins)
    settings = reader.struct(Settings, table)
    model, model_text = None, None
    name = table["terminal"].get("model") if isinstance(table.get("terminal"), dict) else None
    if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        path = model_file or file.parent / "models" / f"{name}.toml"
        try:
            model, model_text = read_model(path)
        except ConfigInvalid as err:
            problems = [*problems, *err.problems]
    if settings is not None:
        _check_meaning(settings, model, reader)
    problems = [*problems, *reader.problems]
    if problems or settings is None:
        raise ConfigInvalid(problems)
    return Loaded(settings, model, table, model_text)


def _check_meaning(settings: Settings, model: Model | None, reader: Reader) -> None:
    """What single keys cannot show."""
    if settings.clock.trust == "assume" and settings.mode == "production":
        reader.problem("clock.trust", 'is "assume": allowed only where mode = "development"; use "kernel"')
    uplink = settings.uplink
    if uplink and (uplink.certificate_file is None) != (uplink.key_file is None):
        reader.problem("uplink.certificate_file", "certificate_file and key_file belong together; give both or none")
    if uplink and not uplink.tls and settings.mode == "production" and not _is_loopback(uplink.host):
        reader.problem("uplink.tls", 'is false: in mode "production" allowed only to a broker on this machine')
    machine = settings.machine
    if machine.kind == "supervisor" and settings.mode == "production":
        reader.problem("machine.kind", 'is "supervisor": allowed only where mode = "development"; use "systemd"')
    if (machine.kind == "supervisor") != (machine.socket is not None):
        reader.problem("machine.socket", 'is given where kind = "supervisor", and only there')
    names = [application.name for application in settings.application]
    for name in {name for name in names if names.count(name) > 1}:
        reader.problem("application", f"the name {name} stands twice")
    units = [application.unit for application in settings.application]
    for unit in {unit for unit in units if units.count(unit) > 1}:
        reader.problem("application", f"the unit {unit} stands twice: one service is one application")
    _fitted, problems = fit(model, settings.devices, device_roots(settings))
    taken = {*settings.devices, *(model.devices if model else ())}
    for key, text in [*problems, *reach_problems(settings.reach, taken), *backup_problems(settings.backup)]:
        reader.problem(key, text)


def device_roots(settings: Settings) -> Roots:
    """The folders in which devices are looked for."""
    paths = settings.paths
    return Roots(Path(paths.sysfs), Path(paths.dev), Path(paths.keypad_reports))


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None
