"""Which devices this terminal has: what the model file describes, at the ports that the configuration names.

Read by ``config.py``, which reports the problems, and ``boot.py``, which builds the drivers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from agent.model_file import Model, ModelDevice, ModelKeypad, ModelPrinter, ModelScreen
from drivers.catalog import DRIVERS
from drivers.contract import Device, DeviceSpec
from drivers.errors import SpecInvalid

_PLAIN_PRINTER = ModelPrinter(driver="")


class Place(Protocol):
    """What the configuration says of one device."""

    @property
    def driver(self) -> str | None: ...
    @property
    def port(self) -> str | None: ...


class Roots(Struct, frozen=True):
    """Where devices are looked for: `DeviceSpec.sysfs`, ``dev`` and ``reports``."""

    sysfs: Path
    dev: Path
    reports: Path


class Fitted(Struct, frozen=True):
    """One device.

    Attributes:
        driver: None when neither a port is configured nor the model says how to find it: it stays unknown for ever.
        answers, has_reader, must_be_on: What the model says of it; see ``model_file.py``.
    """

    name: str
    category: str
    required: bool
    driver: Device | None
    answers: bool = True
    has_reader: bool = False
    must_be_on: bool = False
    needs_edid: bool = False


def fit(model: Model | None, places: Mapping[str, Place], roots: Roots) -> tuple[list[Fitted], list[tuple[str, str]]]:
    """Every device of the model or the configuration, in name order, and every problem as (key, text)."""
    described = model.devices if model else {}
    fitted: list[Fitted] = []
    problems: list[tuple[str, str]] = []
    for name in sorted({*described, *places}):
        about, place = described.get(name), places.get(name)
        driver = (place.driver if place else None) or (about.driver if about else None)
        if driver is None:
            problems.append((f"devices.{name}.driver", "is required: the model file does not describe this device"))
            continue
        if driver not in DRIVERS:
            known = ", ".join(sorted(DRIVERS))
            problems.append((f"devices.{name}.driver", f"there is no such driver; there are: {known}"))
            continue
        category = DRIVERS[driver].category
        if about is not None and about.category != category:
            text = f"is a driver for {category}, but the model file says that this is a {about.category}"
            problems.append((f"devices.{name}.driver", text))
            continue
        try:
            fitted.append(_fitted(name, about, _spec(name, driver, about, place, roots)))
        except SpecInvalid as err:
            problems.append((f"devices.{name}", err.detail))
    return fitted, problems


def _spec(name: str, driver: str, about: ModelDevice | None, place: Place | None, roots: Roots) -> DeviceSpec:
    printer = about if isinstance(about, ModelPrinter) else _PLAIN_PRINTER
    return DeviceSpec(
        name=name,
        driver=driver,
        port=(place.port if place else None) or "",
        category=DRIVERS[driver].category,
        baud_rate=printer.baud_rate,
        sensors=frozenset(printer.sensors),
        answers=printer.answers,
        reader=isinstance(about, ModelKeypad) and about.reader,
        sysfs=roots.sysfs,
        dev=roots.dev,
        reports=roots.reports,
        options=about.options if about else {},
    )


def _fitted(name: str, about: ModelDevice | None, spec: DeviceSpec) -> Fitted:
    entry = DRIVERS[spec.driver]
    can_be_found = bool(spec.port or entry.found_by & spec.options.keys())
    screen = about if isinstance(about, ModelScreen) else None
    return Fitted(
        name,
        spec.category,
        about.required if about else False,
        entry(spec) if can_be_found else None,
        answers=spec.answers,
        has_reader=spec.reader,
        must_be_on=screen is not None and screen.must_be_on,
        needs_edid=screen is not None and screen.edid,
    )
