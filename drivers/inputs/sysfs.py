"""Find an input device by what stays the same of it: its port, or its name, physical place or USB numbers.

Source: ``/sys/class/input/event*/device`` and the links below ``/dev/input/by-path`` and ``by-id``. The number of an
event node changes from start to start. No node is opened, here or anywhere in the agent. Left out: what it sends.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from msgspec import Struct

from drivers.contract import DeviceSpec, OptionValue
from drivers.errors import HostSourceError, SpecInvalid
from drivers.host.source_file import names_in, read_source
from drivers.inputs import capability_wire

FOUND_BY = frozenset({"name", "phys", "usb_id"})
_EVENT_NODE = re.compile(r"event[0-9]{1,6}")
_USB_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")


class Identity(Struct, frozen=True):
    """What the model file says of the device; None says nothing. ``usb_id``: vendor and product, ``046d:c31c``."""

    name: str | None = None
    phys: str | None = None
    usb_id: str | None = None


class InputNode(Struct, frozen=True):
    """A device that was found. ``event``: its node of today, such as ``event3``."""

    event: str
    keys: frozenset[int]
    axes: frozenset[int]
    properties: frozenset[int]


class NotThere(Exception):
    """The device is missing; the message says what exactly."""


def identity_of(spec: DeviceSpec) -> Identity:
    """The options that find it.

    Raises:
        SpecInvalid: An unknown option or a value that cannot be, or nothing to find it by; all problems at once.
    """
    options = spec.options
    problems = [f"unknown option {name}" for name in sorted(options.keys() - FOUND_BY)]
    values = {name: _text(options, name, problems) for name in sorted(FOUND_BY)}
    usb_id = values["usb_id"]
    if usb_id is not None and not _USB_ID.fullmatch(usb_id):
        problems.append('option usb_id is vendor and product in lower-case hex, such as "046d:c31c"')
    if not spec.port and not any(values.values()):
        problems.append(f"port is missing, and so are the options that find it: {', '.join(sorted(FOUND_BY))}")
    if problems:
        raise SpecInvalid(spec.name, "; ".join(problems))
    return Identity(**values)


def _text(options: Mapping[str, OptionValue], name: str, problems: list[str]) -> str | None:
    value = options.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        problems.append(f"option {name} is text")
        return None
    return value


class InputFinder:
    """Looks for one device. Blocks as long as the files do."""

    def __init__(self, spec: DeviceSpec) -> None:
        """Raises `SpecInvalid`."""
        self._identity = identity_of(spec)
        self._device = spec.name
        self._port = spec.port
        self._inputs = str(spec.sysfs / "class/input")
        self._nodes = str(spec.dev / "input")

    def candidates(self) -> list[InputNode]:
        """Every node that is the described device, in the order of their numbers; one keypad may have several.

        Raises:
            NotThere: None is.
            HostSourceError: A file of a device that is there says nothing or nonsense.
        """
        if self._port:
            events = [self._event_at_port()]
            if not os.path.isdir(f"{self._inputs}/{events[0]}"):
                raise NotThere(f"its node {events[0]} is there, but the kernel lists no such device")
            matching = [event for event in events if self._is_described(event)]
            if not matching:
                raise NotThere("another device is at its port")
        else:
            matching = [event for event in self._listed() if self._is_described(event)]
            if not matching:
                raise NotThere("the kernel lists no such input device: unplugged, or its driver has failed")
        with_node = [event for event in matching if os.path.lexists(f"{self._nodes}/{event}")]
        if not with_node:
            raise NotThere(f"the kernel lists it, but {self._nodes}/{matching[0]} is missing")
        return [self._described(event) for event in with_node]

    def _event_at_port(self) -> str:
        try:
            target = os.path.basename(os.path.realpath(self._port, strict=True))
        except OSError as err:
            raise NotThere(f"its port {self._port} is not there: {err.strerror}") from err
        if not _EVENT_NODE.fullmatch(target):
            raise HostSourceError(self._device, self._port, "leads to no input event node; check the configuration")
        return target

    def _listed(self) -> list[str]:
        names = names_in(self._inputs, self._device)
        return sorted((name for name in names if _EVENT_NODE.fullmatch(name)), key=lambda name: (len(name), name))

    def _is_described(self, event: str) -> bool:
        wanted = self._identity
        folder = f"{self._inputs}/{event}/device"
        try:
            return (
                (wanted.name is None or _line(self._read(f"{folder}/name")) == wanted.name)
                and (wanted.phys is None or _line(self._read(f"{folder}/phys")) == wanted.phys)
                and (wanted.usb_id is None or self._usb_id(folder) == wanted.usb_id)
            )
        except HostSourceError:
            if self._port:
                raise
            return False  # somebody else's broken device does not hide ours

    def _usb_id(self, folder: str) -> str:
        return ":".join(_line(self._read(f"{folder}/id/{name}")) for name in ("vendor", "product"))

    def _described(self, event: str) -> InputNode:
        folder = f"{self._inputs}/{event}/device"
        keys, axes, properties = (
            self._bitmap(f"{folder}/{name}") for name in ("capabilities/key", "capabilities/abs", "properties")
        )
        return InputNode(event, keys, axes, properties)

    def _bitmap(self, path: str) -> frozenset[int]:
        try:
            return capability_wire.parse_bitmap(self._read(path))
        except ValueError as err:
            raise HostSourceError(self._device, path, str(err)) from err

    def _read(self, path: str) -> bytes:
        return read_source(path, self._device)


def _line(content: bytes) -> str:
    return content.decode("utf-8", errors="replace").removesuffix("\n")
