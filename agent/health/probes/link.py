"""Network links: is there one, and does it come and go? Source: `drivers.host_contract.LinkReading`.

Interfaces that the configuration names must each have a link; without names one of the physical ones must. An interface
that is switched off has no link, whoever switched it off.
"""

from __future__ import annotations

from agent.contract.health import State
from agent.health.probes.host import LINE_RULES, NONE_HERE
from agent.health.rules import Hold, Limit, Rule
from agent.health.sample import Sample
from drivers.host_contract import HostReading, Link, LinkReading

CODE = "NET-LNK-001"
FLAPS, CALM = 6.0, 1.0  # changes of the carrier in five minutes: three times gone and back; a single one is over

_STEADY = Hold(samples=2, seconds=5.0)


def rules() -> tuple[Rule, ...]:
    """How links are judged."""
    flapping = Rule(
        "flapping",
        "flaps",
        State.DEGRADED,
        "a link changed {:.0f} times in five minutes",
        "NET-LNK-002",
        limit=Limit(FLAPS, CALM),
    )
    return (
        *LINE_RULES,
        Rule(
            *("no_link", "no_link", State.FAILED, "no interface has a link", CODE),
            confirm=_STEADY,
            release=_STEADY,
            blinds=True,
            absent=False,
        ),
        Rule("lost", "lost", State.DEGRADED, "an interface has no link", CODE, confirm=_STEADY, release=_STEADY),
        flapping,
    )


def sample_of(reading: HostReading) -> Sample:
    """A reading as a sample."""
    if not isinstance(reading, LinkReading):
        raise TypeError(f"not a reading of links: {type(reading).__name__}")
    links = reading.links
    if not links:
        return NONE_HERE
    without = [f"{link.name} {_why(link)}" for link in links if not link.carrier]
    flaps = max(links, key=lambda link: link.recent_changes or 0)
    changes = flaps.recent_changes or 0
    details = {"flaps": f"the link of {flaps.name} changed {changes} times in five minutes"} if changes else {}
    if without:
        details["no_link"] = details["lost"] = "; ".join(without)
    is_cut_off = len(without) == len(links)
    return Sample(
        not is_cut_off,  # so that a terminal that starts without a link is unknown first, never good
        {
            "no_link": is_cut_off,
            "lost": reading.named and 0 < len(without) < len(links),
            "flaps": float(changes),
        },
        {"links_watched": len(links), "links_up": len(links) - len(without), "link_changes_5m": changes},
        details,
    )


def _why(link: Link) -> str:
    if not link.present:
        return "is not there"
    return "is switched off" if link.carrier is None else "has no link"
