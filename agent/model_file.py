"""Model files: what is built into a terminal, as TOML below ``models/`` beside the configuration. Strict.

A model file describes a kind of terminal, the configuration one terminal: driver, speed and sensors are here, the port
is there. Every problem is reported at once, with file and key. Read by ``config.py`` for ``boot.py``; rooms get values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from agent.contract.health import TemperatureLimit, Threshold, Thresholds
from agent.errors import ConfigInvalid
from agent.strict_toml import Reader, Unreadable, read_table

SCHEMA = 1

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")]
Option = str | int | bool

HOST_PARTS = ("memory", "cpu", "filesystem", "thermal", "link", "route", "clock", "power", "storage")
RESERVED_NAMES = frozenset({*HOST_PARTS, "network", "host", "store", "agent"})
"""Names of the board's parts and of groups of readings: no device may have one."""


class _Described(Struct, frozen=True, forbid_unknown_fields=True, tag_field="category"):
    """What a device of any category has. ``category`` is that of UnifiedPOS, or our own where it has none."""

    driver: Annotated[Id, Meta(description="key of drivers/catalog.py")]
    required: Annotated[
        bool, Meta(description="the terminal does not sell while this device is out of work or unknown")
    ] = False
    options: Annotated[dict[str, Option], Meta(description="settings of the driver itself")] = {}

    @property
    def category(self) -> str:
        return str(self.__struct_config__.tag)


class ModelPrinter(_Described, frozen=True, forbid_unknown_fields=True, tag="pos_printer"):
    """A receipt printer."""

    baud_rate: Annotated[int, Meta(ge=300, le=4_000_000, description="bits a second; 8N1")] = 115_200
    sensors: Annotated[
        tuple[Literal["near_end", "paper_end", "cover"], ...],
        Meta(description="sensors it really has; one that is not listed never reads as good"),
    ] = ()
    answers: Annotated[
        bool, Meta(description="known to answer status queries: then silence means offline, else it means nothing")
    ] = True


class ModelKeypad(_Described, frozen=True, forbid_unknown_fields=True, tag="pos_keyboard"):
    """A keypad or keyboard."""

    reader: Annotated[
        bool, Meta(description="its reader process is set up: it tells that a key is stuck or chatters, never which")
    ] = False


class ModelTouch(_Described, frozen=True, forbid_unknown_fields=True, tag="touch"):
    """A touch panel."""


class ModelScreen(_Described, frozen=True, forbid_unknown_fields=True, tag="screen"):
    """A screen."""

    edid: Annotated[bool, Meta(description="this screen gives an EDID: giving none is a fault then")] = False
    must_be_on: Annotated[
        bool, Meta(description="being switched off is a fault; otherwise it is standby, as after a while of no use")
    ] = False


ModelDevice = ModelPrinter | ModelKeypad | ModelTouch | ModelScreen
"""One device that is built in or belongs to it; ``category`` tells which keys it has."""


class HostParts(Struct, frozen=True, forbid_unknown_fields=True):
    """The board itself."""

    required: Annotated[
        tuple[Literal["memory", "cpu", "filesystem", "thermal", "link", "route", "clock", "power", "storage"], ...],
        Meta(description="parts that this model has and does not sell without: one that is missing is a fault"),
    ] = ()


class Model(Struct, frozen=True, forbid_unknown_fields=True):
    """A model file, schema 1."""

    schema: Annotated[Literal[1], Meta(description="version of this form")]
    title: Annotated[str, Meta(min_length=1, max_length=100, description="for people")]
    host: HostParts = HostParts()
    devices: dict[Id, ModelDevice] = {}  # id in configuration, topics and orders → device
    thresholds: Thresholds = Thresholds()  # each table that is given replaces the default whole


def read_model(path: Path) -> tuple[Model, bytes]:
    """Read and check a model file; also its text, for the digest and the last good copy.

    Raises:
        ConfigInvalid: With every problem.
    """
    if not path.is_file():
        raise ConfigInvalid([f"{path}: is no file; terminal.model names it, shipped ones are in config/models"])
    reader = Reader(path)
    try:
        text, table = path.read_bytes(), read_table(path)
    except (Unreadable, OSError) as err:
        raise ConfigInvalid([str(err)]) from err
    model = reader.struct(Model, table)
    _check_names(table, reader)
    _check_thresholds(table, reader)
    if model is None or reader.problems:
        raise ConfigInvalid(reader.problems)
    return model, text


def model_schema() -> dict[str, Any]:
    """JSON Schema of a model file, for editors and integrators."""
    schema = msgspec.json.schema(Model)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "pos-agent model file", **schema}


def _check_names(table: dict[str, Any], reader: Reader) -> None:
    devices = table.get("devices")
    for name in sorted(RESERVED_NAMES & (devices.keys() if isinstance(devices, dict) else set())):
        reader.problem(f"devices.{name}", "the name is taken by a part of the board; choose another, e.g. printer-0")


def _check_thresholds(table: dict[str, Any], reader: Reader) -> None:
    """The order of the two steps, and room for the margin: what single keys cannot show."""
    thresholds = table.get("thresholds")
    if isinstance(thresholds, dict):
        _check_temperature(thresholds.get("temperature"), reader)
    for name, values in thresholds.items() if isinstance(thresholds, dict) else ():
        try:
            limit = msgspec.convert(values, Threshold)
        except msgspec.ValidationError:
            continue  # already listed
        first, second = limit.degraded_pct, limit.failed_pct
        if name.endswith("_available"):
            if not second < first:
                reader.problem(f"thresholds.{name}.failed_pct", "must be below degraded_pct: lower is worse")
            if first + limit.margin_pct > 100:
                reader.problem(
                    f"thresholds.{name}.margin_pct", "leaves no way back: degraded_pct + margin_pct is > 100"
                )
        else:
            if not first < second:
                reader.problem(f"thresholds.{name}.failed_pct", "must be above degraded_pct: higher is worse")
            if first - limit.margin_pct < 0:
                reader.problem(f"thresholds.{name}.margin_pct", "leaves no way back: degraded_pct - margin_pct is < 0")


def _check_temperature(table: object, reader: Reader) -> None:
    try:
        limit = msgspec.convert(table, TemperatureLimit)
    except msgspec.ValidationError:
        return  # already listed, or not there
    if not limit.failed_below_c < limit.degraded_below_c:
        reader.problem("thresholds.temperature.failed_below_c", "must be below degraded_below_c: nearer is worse")
