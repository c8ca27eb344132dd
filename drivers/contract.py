"""What a device driver promises to whoever uses it: names, statuses, and the protocols behind the catalog.

Words are those of UnifiedPOS 1.15 (power states, CheckHealth levels, printer conditions); its numbers, its claim and
event model and DirectIO are left out. Whether a status is good or bad is not decided here: drivers report, rooms judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from msgspec import Struct, field


class PowerState(StrEnum):
    """UnifiedPOS power state. ``OFF``: no power or detached; ``OFFLINE``: powered, but not ready or not answering."""

    ONLINE = "online"
    OFF = "off"
    OFFLINE = "offline"
    OFF_OFFLINE = "off_offline"
    UNKNOWN = "unknown"


class CheckLevel(StrEnum):
    """UnifiedPOS CheckHealth level: no physical effect; may move or print; needs a person."""

    INTERNAL = "internal"
    EXTERNAL = "external"
    INTERACTIVE = "interactive"


class Paper(StrEnum):
    """The roll as far as the sensors *of this model* tell.

    ``PRESENT`` means only "not at its end": whether the end is near stands in `PrinterStatus.near_end`, which is
    ``None`` on a model without that sensor. ``UNKNOWN``: the model has no paper-end sensor.
    """

    PRESENT = "present"
    NEAR_END = "near_end"
    END = "end"
    UNKNOWN = "unknown"


class Sensor(StrEnum):
    """What a model file may list in ``sensors``. A sensor that is not listed never reads "good", only ``None``."""

    NEAR_END = "near_end"
    PAPER_END = "paper_end"
    COVER = "cover"


OptionValue = str | int | bool


class DeviceSpec(Struct, frozen=True):
    """One device as the configuration and its model file describe it.

    Attributes:
        name: Id in configuration, topics and logs, such as ``printer-0``.
        driver: Key of `drivers.catalog.DRIVERS`.
        port: Path of the device node; use a stable one (``/dev/serial/by-id/…``). Empty for a device that its options
            find.
        category: UnifiedPOS category in lower case, such as ``pos_printer``.
        baud_rate: Bits a second of a serial port; 8N1.
        sensors: Which sensors this model has (values of `Sensor`).
        answers: The model is known to answer status queries: then silence means offline, else it means nothing.
        reader: A keypad's reader process runs and reports on it (``drivers/pos_keyboard/reader.py``).
        sysfs, dev: The roots ``/sys`` and ``/dev``, for devices that are known by what the kernel says of them.
        reports: Folder in which reader processes leave their reports: ``<name>/report.json``.
        options: Settings of the driver itself; an unknown one is refused by its factory with `SpecInvalid`.
    """

    name: str
    driver: str
    port: str
    category: str = "pos_printer"
    baud_rate: int = 115_200
    sensors: frozenset[str] = frozenset()
    answers: bool = True
    reader: bool = False
    sysfs: Path = Path("/sys")
    dev: Path = Path("/dev")
    reports: Path = Path("/run/pos-agent-keypad")
    options: Mapping[str, OptionValue] = field(default_factory=dict)


class PrinterStatus(Struct, frozen=True, kw_only=True):
    """What a receipt printer says about itself: every bit of the ESC/POS real-time status, by name.

    ``None`` means "this model has no sensor for it", never "no". A sensor that is not listed for the model but reports
    trouble all the same is believed: only its silence is worth nothing.
    """

    # query 1, printer
    drawer_pin_high: bool  # connector pin 3; whether high means open depends on the drawer switch
    offline: bool
    waiting_for_recovery: bool  # undefined on older models
    feed_button_pressed: bool  # undefined on older models
    # query 2, causes of being offline
    cover_open: bool | None
    paper_fed_by_button: bool
    printing_stopped_by_paper_end: bool
    error_present: bool
    # query 3, causes of an error
    mechanical_error: bool  # recoverable; undefined on older models, low battery on a battery model
    cutter_error: bool  # recoverable, after its cause is removed
    unrecoverable_error: bool
    auto_recoverable_error: bool  # head too hot; on some models the cover was opened while printing
    # query 4, roll paper sensors
    near_end: bool | None
    paper_end: bool | None

    @property
    def paper(self) -> Paper:
        """The roll in one word. The paper-stop bit of query 2 counts as end: a model may have one and not the other."""
        if self.paper_end or self.printing_stopped_by_paper_end:
            return Paper.END
        if self.near_end:
            return Paper.NEAR_END
        return Paper.UNKNOWN if self.paper_end is None else Paper.PRESENT

    @property
    def power_state(self) -> PowerState:
        """It answered, so it has power: ONLINE, or OFFLINE by its own word."""
        return PowerState.OFFLINE if self.offline else PowerState.ONLINE


@runtime_checkable
class Device(Protocol):
    """What all devices have in common."""

    name: str
    category: str

    async def close(self) -> None:
        """Give the port back. Never raises; the next call of any other method opens it again."""
        ...


@runtime_checkable
class Recoverable(Device, Protocol):
    """A device that can be brought back to work by itself. ``reset device`` asks for it; many devices have nothing."""

    async def recover(self, deadline_s: float) -> None:
        """Clear buffers and any error whose cause is gone. A repeat is harmless.

        Raises:
            DriverError: Within ``deadline_s``: `DeviceFault` when an error stays that a person must see to.
        """
        ...


@runtime_checkable
class Initialisable(Device, Protocol):
    """A device that has a standard state, the one of its model file. ``reinit device`` asks for it."""

    async def initialise(self, deadline_s: float) -> None:
        """Open the port afresh, recover, and set everything to the standard state. A repeat is harmless.

        Raises:
            DriverError: Within ``deadline_s``: `DeviceFault` when the device stands still for a cause that a person
                must see to, and then it is not in its standard state.
        """
        ...


@runtime_checkable
class PrinterDevice(Recoverable, Initialisable, Protocol):
    """A receipt printer. One exchange at a time: calls wait for each other, within their own deadlines.

    Every method opens the port when needed and raises within ``deadline_s``: `DeviceOffline` (no answer), `DeviceGone`
    (port gone), `PortUnusable` (permission, held by another program), `DeviceBusy` (another call did not end in time),
    `ProtocolViolation` (bytes that cannot be).
    """

    communication_error_count: int  # UnifiedPOS CommunicationErrorCount since start: no answer, or a wrong one

    async def read_status(self, deadline_s: float) -> PrinterStatus:
        """CheckHealth INTERNAL: nothing moves, nothing is printed."""
        ...

    async def print_test_slip(self, deadline_s: float) -> None:
        """CheckHealth EXTERNAL: print and cut a slip, return once the printer has processed all of it.

        Raises also `DeviceFault`, with the reason; when it was there before, nothing was printed.
        """
        ...


DriverFactory = Callable[[DeviceSpec], Device]


class Driver(Struct, frozen=True):
    """A line of the catalog.

    Attributes:
        category: Of the devices that ``build`` makes.
        build: Raises `SpecInvalid`.
        found_by: Options that find the device where no port is given.
    """

    category: str
    build: DriverFactory
    found_by: frozenset[str] = frozenset()

    def __call__(self, spec: DeviceSpec) -> Device:
        """Make the device. No I/O yet. Raises `SpecInvalid`."""
        return self.build(spec)


EmulatorEntry = Callable[[list[str]], int]
