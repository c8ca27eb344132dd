"""The way to other networks: a default route, a gateway that is there. Source: `drivers.host_contract.RouteReading`.

The gateway is judged by what the kernel knows of its neighbour, because many gateways drop a ping; one that nobody has
asked lately proves nothing.
"""

from __future__ import annotations

from agent.contract.health import State
from agent.health.probes.host import LINE_RULES
from agent.health.rules import Hold, Rule
from agent.health.sample import Sample
from drivers.host_contract import HostReading, RouteReading

CODE = "NET-RTE-001"

_STEADY = Hold(samples=2, seconds=5.0)


def rules() -> tuple[Rule, ...]:
    """How routes are judged."""
    return (
        *LINE_RULES,
        Rule(
            *("no_route", "no_route", State.FAILED, "no default route", CODE),
            confirm=_STEADY,
            release=_STEADY,
            blinds=True,
            absent=False,
        ),
        Rule(
            "gateway_silent",
            "gateway_silent",
            State.DEGRADED,
            "the gateway does not answer",
            "NET-GWY-001",
            confirm=Hold(samples=2, seconds=20.0),
        ),
    )


def sample_of(reading: HostReading) -> Sample:
    """A reading as a sample."""
    if not isinstance(reading, RouteReading):
        raise TypeError(f"not a reading of routes: {type(reading).__name__}")
    route = reading.ipv4 or reading.ipv6
    answers = reading.gateway_answers
    has_gateway = reading.ipv4 is not None and reading.ipv4.gateway is not None
    # None stands for ever: a way without a gateway (mobile data) ends what was said of the one before.
    silent = None if answers is None and has_gateway else answers is False
    details = {}
    if silent and reading.ipv4 is not None:
        details["gateway_silent"] = f"the gateway {reading.ipv4.gateway} does not answer at {reading.ipv4.interface}"
    return Sample(
        route is not None,  # so that a terminal that starts without one is unknown first, never good
        {"no_route": route is None, "gateway_silent": silent},
        {"default_route": int(route is not None), "gateway_answers": None if answers is None else int(answers)},
        details,
    )
