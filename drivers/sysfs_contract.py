"""Devices that are known by what the kernel lists of them: keypad, touch panel, screen. Readings and their protocol.

Nothing here proves that such a device works: a dead key, a dark lamp behind a working driver or a broken glass cannot
be seen by software. The best that can be said is that no fault was found.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from msgspec import Struct

from drivers.contract import Device
from drivers.pos_keyboard.key_report import KeyReport


class KeypadReading(Struct, frozen=True):
    """A keypad as the kernel lists it. That it is there says nothing about its keys.

    Attributes:
        absence: Why it counts as missing; None when it is there.
        declared_keys: How many different keys it says it has.
        report: Of its reader, if it has one and the report is fresh; ``report_problem`` says why there is none.
    """

    absence: str | None
    declared_keys: int | None
    report: KeyReport | None = None
    report_problem: str | None = None


class TouchReading(Struct, frozen=True):
    """A touch panel as the kernel lists it. ``absence``: why it counts as missing; None when it is there."""

    absence: str | None


class Connector(Struct, frozen=True):
    """A DRM connector, words of the kernel.

    Attributes:
        status: ``connected``, ``disconnected`` or ``unknown``: as the driver detects it, or assumes for a fixed panel.
        enabled: An encoder drives it.
        dpms: ``On``, ``Standby``, ``Suspend`` or ``Off``.
        modes: How many it offers.
        edid_bytes: Length of its identification block; 0 where it gives none. ``edid_problem``: what is wrong with it.
    """

    status: str
    enabled: bool
    dpms: str
    modes: int
    edid_bytes: int
    edid_problem: str | None


class Backlight(Struct, frozen=True):
    """Requested and actual brightness in steps of ``max_brightness``; ``powered``: not blanked."""

    brightness: int
    actual_brightness: int
    max_brightness: int
    powered: bool


class ScreenReading(Struct, frozen=True):
    """A screen as the kernel sees it; nobody sees the picture. What is absent although the model has it is None.

    ``has_connector`` and ``has_backlight`` say which of the two the model names.
    """

    has_connector: bool
    connector: Connector | None
    has_backlight: bool
    backlight: Backlight | None


ListedReading = KeypadReading | TouchReading | ScreenReading


@runtime_checkable
class ListedDevice(Device, Protocol):
    """A device that is known by what the kernel lists of it.

    The node of a keypad is never opened: that would be the power to read keys. Nothing is ever written: writing
    ``status`` of a screen would make the kernel detect anew, and flicker.
    """

    def read(self) -> ListedReading:
        """Look it up, each category with a reading of its own. May block for ever on a broken file: give it a thread.

        Raises:
            HostSourceError: A file that is there says nothing, or nonsense.
        """
        ...
