"""Can this terminal sell? Pure: from active faults, required devices and the lock to a yes, or a no with reasons."""

from __future__ import annotations

from collections.abc import Iterable

from agent.contract.faults import CATALOGUE
from agent.contract.health import DeviceHealth, Fault, Impact, Readiness, ReadinessReason, State

STATE_UNKNOWN = "DEVICE_STATE_UNKNOWN"
LOCKED = "TERMINAL_LOCKED"


def assess(
    faults: Iterable[Fault], required: Iterable[DeviceHealth], at: str, *, lock: ReadinessReason | None = None
) -> Readiness:
    """Readiness at the time ``at``.

    Args:
        faults: All that are active; those with impact ``sale`` count.
        required: Devices that the model requires; one that is unknown counts, unless a fault already says why.
        lock: The terminal is locked, and why and since when; always the first reason.
    """
    reasons = [lock] if lock is not None else []
    explained = set()
    for fault in faults:
        if fault.impact is Impact.SALE:
            explained.add(fault.device)
            reasons.append(ReadinessReason(fault.code, f"{fault.device}: {_words(fault)}", fault.since))
    for device in required:
        if device.state is State.UNKNOWN and device.device not in explained:
            text = (
                f"{device.device}: nothing is known about it ({device.detail}); the terminal does not sell without it"
            )
            reasons.append(ReadinessReason(STATE_UNKNOWN, text, device.since))
    return Readiness(not reasons, tuple(reasons), at)


def _words(fault: Fault) -> str:
    kind = CATALOGUE.get(fault.code)
    return kind.text if kind is not None else fault.detail
