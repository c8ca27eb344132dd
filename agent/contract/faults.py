"""The fault catalogue: code → how bad, what it stops, what it means, what to do. Codes are stable and never reused.

Severities and impacts of one kind of fault are the same on every terminal, with one exception: a model file may say
that a device is ``required``; what puts such a device out of work then counts with impact ``sale`` (see `impact_on`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from agent.contract.fault_catalogue import hardware, host, network, security, software, transaction
from agent.contract.fault_catalogue.kind import DAY_S, FaultKind, Lasts
from agent.contract.health import Impact, State

__all__ = ["CATALOGUE", "DAY_S", "FaultKind", "Lasts", "impact_on"]

CATALOGUE: Mapping[str, FaultKind] = MappingProxyType(
    {kind.code: kind for domain in (hardware, host, software, network, transaction, security) for kind in domain.KINDS}
)


def impact_on(kind: FaultKind, state: State, *, required: bool) -> Impact:
    """What a fault stops on this terminal.

    Args:
        state: What the fault alone makes of its device.
        required: The terminal does not sell without this device. What only degrades it stops nothing more.
    """
    if required and state is not State.DEGRADED and kind.impact is not Impact.SECURITY:
        return Impact.SALE
    return kind.impact
