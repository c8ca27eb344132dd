"""Every error a driver raises, branched by what the caller can do about it.

A foreign error (`OSError`, `TimeoutError`, `serial.SerialException`) is translated once, where the driver meets it, and
stays as ``__cause__``. No message holds bytes that were printed; status bytes of a device are no secret.
"""

from __future__ import annotations

from typing import ClassVar


class DriverError(Exception):
    """Base of all. ``device`` is the configured name of the device, ``detail`` says what happened and what to do."""

    code: ClassVar[str] = "device.error"

    def __init__(self, device: str, detail: str) -> None:
        super().__init__(f"{device}: {detail}")
        self.device = device
        self.detail = detail


# ── Try again later ────────────────────────────────────────────────────────────────────────────────────────────
class DeviceOffline(DriverError):
    """The port is there, the device did not answer in time. Power: OFFLINE if the model is known to answer."""

    code = "device.offline"


class DeviceBusy(DriverError):
    """Another exchange with the device took the whole deadline: nothing is known about the device."""

    code = "device.busy"


# ── Wait for the device to come back, or send somebody to look at the cable ────────────────────────────────────
class DeviceGone(DriverError):
    """The port is gone: unplugged, or the device lost power. Power: OFF."""

    code = "device.gone"


# ── A person must act at the device ────────────────────────────────────────────────────────────────────────────
class DeviceFault(DriverError):
    """The device answers and says that it cannot work: paper end, cover, cutter, unrecoverable error."""

    code = "device.fault"


# ── Report it: cable, wrong speed, wrong model, another program on the port, or our bug ────────────────────────
class ProtocolViolation(DriverError):
    """Bytes came that the protocol does not allow. Nothing may be concluded from them."""

    code = "device.protocol_violation"


# ── A person must act at this computer: nothing is known about the device ──────────────────────────────────────
class PortUnusable(DriverError):
    """The port exists, but not for us: no permission, held by another program, not a serial port. Power: UNKNOWN."""

    code = "device.port_unusable"


class SpecInvalid(DriverError):
    """The configuration or model file asks for something this driver does not know. Raised by factories only."""

    code = "device.spec_invalid"


class HostSourceError(DriverError):
    """A file of the kernel is missing, empty or unreadable. ``path`` names it; there is no reading."""

    code = "host.source_unreadable"

    def __init__(self, device: str, path: str, detail: str) -> None:
        super().__init__(device, f"{path}: {detail}")
        self.path = path
