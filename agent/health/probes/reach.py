"""A host that the terminal must reach: name, connection, TLS and certificate are different faults with different cures.

Source: `drivers.reach_contract.ReachReading`. Three misses are a fault, and so are 5 s without an answer; more than 1 s
is slow. That a name leads to an unexpected address is told even when a host answers there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from agent.contract.health import PowerState, State
from agent.health.rules import PROBE_BROKEN, Hold, Limit, Rule
from agent.health.sample import Sample, Seen
from drivers.reach_contract import READ_LIMIT_S, HostReach, ReachReading

DEADLINE_S: Final = READ_LIMIT_S

_DAY_S: Final = 86_400.0
_SLOW = Limit(1.0, 0.7)
_MISSES = Hold(samples=3)
_TWICE = Hold(samples=2)
_STEADY = Hold(samples=2, seconds=1.0)  # by time, so that one slow answer is not asked after at once

IsExpected = Callable[[str], bool]
"""Is an address one that the name should stand for?"""


def rules(*, warn_days: int) -> tuple[Rule, ...]:
    """How a host is judged.

    Args:
        warn_days: A certificate that ends sooner than this is told.
    """
    failed, degraded, offline = State.FAILED, State.DEGRADED, PowerState.OFFLINE
    ends = Limit(float(warn_days), warn_days + 1.0)
    return (
        PROBE_BROKEN,
        Rule("settings", "settings", State.UNKNOWN, "cannot be tried", blinds=True, absent=False),
        Rule("name", "name", failed, "no address", "NET-DNS-001", confirm=_MISSES, blinds=True, absent=False),
        Rule(
            *("connect", "connect", failed, "cannot be reached", "NET-TCP-001"),
            confirm=_MISSES,
            blinds=True,
            power_state=offline,
            absent=False,
        ),
        Rule("tls", "tls", failed, "no TLS", "NET-TLS-001", confirm=_MISSES, blinds=True, absent=False),
        Rule(
            *("certificate", "certificate", failed, "its certificate is not valid", "NET-TLS-001"),
            confirm=_TWICE,
            blinds=True,
            absent=False,
        ),
        Rule("elsewhere", "elsewhere", failed, "not the expected address", "NET-DNS-002", confirm=_TWICE),
        Rule(
            *("slow_connect", "connect_s", degraded, "connects only after {:.1f} s", "NET-TCP-001", _SLOW),
            confirm=_STEADY,
            release=_STEADY,
        ),
        Rule(
            *("slow_tls", "handshake_s", degraded, "TLS takes {:.1f} s", "NET-TCP-001", _SLOW),
            confirm=_STEADY,
            release=_STEADY,
        ),
        Rule("ends", "days", degraded, "its certificate ends in {:.0f} days", "NET-TLS-002", ends),
    )


def sample_of(reading: ReachReading, is_expected: IsExpected, now_s: float) -> Sample:
    """A reading as a sample.

    Args:
        now_s: Wall time, seconds since 1970 UTC.
    """
    until_s = reading.certificate_until_s
    days = None if until_s is None else (until_s - now_s) / _DAY_S
    is_plain = reading.failed is None and reading.handshake_s is None  # reached, and no TLS is asked for any more
    strange = [address for address in reading.addresses if not is_expected(address)]
    seen: dict[str, Seen] = {
        "elsewhere": bool(strange) if reading.addresses else None,
        "connect_s": reading.connect_s,
        "handshake_s": 0.0 if is_plain else reading.handshake_s,
        "days": math.inf if is_plain else days,
    }
    details = {"elsewhere": f"its name stands for {', '.join(strange[:3])}, which is not expected"} if strange else {}
    if reading.failed is not None:
        seen[reading.failed.value] = True
        details[reading.failed.value] = reading.why
    return Sample(
        reading.failed is None,
        seen,
        {
            "resolve_ms": _ms(reading.resolve_s),
            "connect_ms": _ms(reading.connect_s),
            "handshake_ms": _ms(reading.handshake_s),
            "certificate_days": None if days is None else round(days, 1),
            "reached": int(reading.failed is None),
            "failed_at": "" if reading.failed is None else reading.failed.value,
        },
        details,
    )


def _ms(duration_s: float | None) -> float | None:
    return None if duration_s is None else round(duration_s * 1000, 1)


class ReachProbe:
    """Tries one host."""

    def __init__(self, host: HostReach, is_expected: IsExpected, now_s: Callable[[], float]) -> None:
        self._host = host
        self._is_expected = is_expected
        self._now_s = now_s

    async def look(self, deadline_s: float) -> Sample:
        """One attempt; it has limits of its own for each stage, below `DEADLINE_S` together."""
        return sample_of(await self._host.read(), self._is_expected, self._now_s())
