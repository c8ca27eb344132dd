"""Receipt printer: every bit of its status, and every way of not answering, as conditions with rules.

Source: the ESC/POS real-time status as `drivers.contract.PrinterStatus` names it; rules of the trade: three misses are
silence, a port that is gone is gone at once, rubbish proves nothing. Left out: printing receipts.
"""

from __future__ import annotations

from agent.contract.health import PowerState, State
from agent.health.rules import PROBE_BROKEN, Hold, Rule
from agent.health.sample import Sample, Seen, Value
from drivers.contract import Device, PrinterDevice, PrinterStatus
from drivers.errors import DeviceBusy, DeviceGone, DeviceOffline, PortUnusable, ProtocolViolation

TEST_SLIP_DEADLINE_S = 30.0
_TWICE = Hold(samples=2)
_MISSES = Hold(samples=3)


def rules(*, answers: bool, stale_after_s: float = 60.0) -> tuple[Rule, ...]:
    """How a printer's samples are judged.

    Args:
        answers: The model is known to answer status queries: then silence means that it is offline, else nothing.
        stale_after_s: After this long without one valid answer, for whatever mixture of reasons, nothing is known.
    """
    unknown, failed, degraded = State.UNKNOWN, State.FAILED, State.DEGRADED
    if answers:
        silent = Rule(
            "silent",
            "silent",
            failed,
            "does not answer",
            "HW-PRN-001",
            confirm=_MISSES,
            blinds=True,
            power_state=PowerState.OFFLINE,
            absent=False,
        )
    else:
        silent = Rule(
            "mute", "silent", unknown, "no answer; this model may have none", confirm=_MISSES, blinds=True, absent=False
        )
    return (
        PROBE_BROKEN,
        Rule(
            "gone",
            "gone",
            failed,
            "the port is gone: unplugged, or without power",
            "HW-PRN-001",
            blinds=True,
            power_state=PowerState.OFF,
            absent=False,
        ),
        silent,
        Rule("unusable", "unusable", unknown, "the port cannot be used", blinds=True, absent=False),
        Rule(
            "violation",
            "violation",
            unknown,
            "answers with something that is no answer",
            "HW-PRN-008",
            confirm=_TWICE,
            blinds=True,
            absent=False,
        ),
        Rule(
            "unanswered",
            "unanswered",
            unknown,
            "no valid answer for a while",
            confirm=Hold(samples=3, seconds=stale_after_s),
            blinds=True,
            absent=False,
        ),
        Rule("unrecoverable", "unrecoverable", failed, "unrecoverable error", "HW-PRN-006", confirm=_TWICE),
        Rule("paper_sensor", "paper_end", failed, "paper end", "HW-PRN-002", confirm=_TWICE, release=_TWICE),
        # Named as earlier releases stored both: what they left active, any printer can clear.
        Rule("paper_end", "paper_stop", failed, "paper end", "HW-PRN-002", confirm=_TWICE, release=_TWICE),
        Rule("cover", "cover_open", failed, "cover open", "HW-PRN-004", confirm=_TWICE, release=_TWICE),
        Rule("cutter", "cutter", failed, "cutter error", "HW-PRN-005", confirm=_TWICE),
        Rule("mechanical", "mechanical", failed, "mechanical error", "HW-PRN-005", confirm=_TWICE),
        Rule("error", "unnamed_error", failed, "an error that it does not name", "HW-PRN-005", confirm=_TWICE),
        Rule(
            "not_ready",
            "not_ready",
            failed,
            "says it is offline, and names no cause",
            "HW-PRN-001",
            confirm=Hold(samples=2, seconds=10.0),
            power_state=PowerState.OFFLINE,
        ),
        Rule(
            "hot",
            "hot",
            degraded,
            "print head too hot",
            "HW-PRN-007",
            confirm=_TWICE,
            release=Hold(samples=2, seconds=5.0),
        ),
        Rule("near_end", "near_end", degraded, "paper near end", "HW-PRN-003", confirm=_TWICE, release=_TWICE),
    )


def conditions(status: PrinterStatus) -> dict[str, Seen]:
    """Every bit under the name of its condition. A sensor that does not exist stays None: it never reads "good".

    That printing stopped for want of paper is a bit of its own, which comes and goes without any sensor. It has a
    condition of its own, because one that is None again afterwards would never clear; with a sensor both are one.
    """
    stopped, has_sensor = status.printing_stopped_by_paper_end, status.paper_end is not None
    paper_end = status.paper_end or stopped if has_sensor else None
    named_error = (
        status.mechanical_error or status.cutter_error or status.unrecoverable_error or status.auto_recoverable_error
    )
    cause = named_error or status.error_present or bool(status.cover_open) or bool(paper_end) or stopped
    return {
        "paper_end": paper_end,
        "paper_stop": stopped and not has_sensor,
        "near_end": status.near_end,
        "cover_open": status.cover_open,
        "cutter": status.cutter_error,
        "mechanical": status.mechanical_error,
        "unrecoverable": status.unrecoverable_error,
        "hot": status.auto_recoverable_error,
        "unnamed_error": status.error_present and not named_error,
        "not_ready": status.offline and not cause,
    }


def sample_of(status: PrinterStatus) -> Sample:
    """A valid answer as a sample."""
    details = {}
    if status.offline:
        details["not_ready"] = "says it is offline" + _why_not_ready(status)
    readings: dict[str, Value] = {
        "paper": str(status.paper),
        "near_end": None if status.near_end is None else int(status.near_end),  # without that sensor: not known
        "cover_open": None if status.cover_open is None else int(status.cover_open),
        "drawer_pin_high": int(status.drawer_pin_high),
        "offline": int(status.offline),
    }
    return Sample(True, conditions(status), readings, details)


def _why_not_ready(status: PrinterStatus) -> str:
    if status.feed_button_pressed or status.paper_fed_by_button:
        return ": its feed button is pressed"
    if status.waiting_for_recovery:
        return ": it waits to be put online again"
    return ", and names no cause"


class PosPrinterProbe:
    """Asks one printer. What the printer does wrong becomes part of the sample; only our own faults are raised."""

    def __init__(self, printer: PrinterDevice) -> None:
        self._printer = printer

    async def look(self, deadline_s: float) -> Sample:
        """One status query; nothing moves, nothing is printed."""
        try:
            sample = sample_of(await self._printer.read_status(deadline_s))
        except DeviceGone:
            sample = Sample(False, {"gone": True, "unanswered": True})
        except DeviceOffline:
            sample = Sample(False, {"silent": True, "unanswered": True})
        except ProtocolViolation as err:
            seen = {"violation": True, "unanswered": True}
            sample = Sample(False, seen, details={"violation": f"no valid answer: {err.detail}"})
        except PortUnusable as err:
            sample = Sample(False, {"unusable": True, "unanswered": True}, details={"unusable": err.detail})
        except DeviceBusy:  # somebody else uses it: no news, but no news for long is silence
            line: dict[str, Seen] = {"gone": None, "silent": None, "unusable": None, "violation": None}
            sample = Sample(False, {**line, "unanswered": True})
        readings = {**sample.readings, "communication_errors": self._printer.communication_error_count}
        return Sample(sample.answered, sample.seen, readings, sample.details)

    async def test(self) -> None:
        """Print a slip. Raises `drivers.errors.DriverError` when it did not come out whole."""
        await self._printer.print_test_slip(TEST_SLIP_DEADLINE_S)


def probe_of_device(device: Device) -> PosPrinterProbe:
    """The probe of a device of this category."""
    if not isinstance(device, PrinterDevice):
        raise TypeError(f"not a printer: {type(device).__name__}")
    return PosPrinterProbe(device)
