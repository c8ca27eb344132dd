"""Which devices this terminal has: what the model file describes, at the ports that the configuration names.

Read by ``config.py``, which reports the problems, and ``boot.py``, which builds the drivers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from agent.model_file import Model
from drivers.catalog import DRIVERS
from drivers.contract import DeviceSpec, PrinterDevice
from drivers.errors import SpecInvalid

_DEFAULT_CATEGORY = "pos_printer"
_DEFAULT_BAUD_RATE = 115_200


class Place(Protocol):
    """What the configuration says of one device."""

    @property
    def driver(self) -> str | None: ...
    @property
    def port(self) -> str | None: ...


@dataclass(frozen=True)
class Fitted:
    """One device. ``driver`` is None when no port is configured: then nothing can ever be known about it."""

    name: str
    category: str
    answers: bool
    required: bool
    driver: PrinterDevice | None


def fit(model: Model | None, places: Mapping[str, Place]) -> tuple[list[Fitted], list[tuple[str, str]]]:
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
        category = about.category if about else _DEFAULT_CATEGORY
        answers, required = (about.answers, about.required) if about else (True, False)
        if place is None or place.port is None:
            fitted.append(Fitted(name, category, answers, required, None))
            continue
        spec = DeviceSpec(
            name=name,
            driver=driver,
            port=place.port,
            category=category,
            baud_rate=about.baud_rate if about else _DEFAULT_BAUD_RATE,
            sensors=frozenset(about.sensors) if about else frozenset(),
            answers=answers,
            options=about.options if about else {},
        )
        try:
            fitted.append(Fitted(name, category, answers, required, DRIVERS[driver](spec)))
        except SpecInvalid as err:
            problems.append((f"devices.{name}", err.detail))
    return fitted, problems
