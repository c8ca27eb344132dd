"""The form of one entry of the fault catalogue."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from agent.contract.health import Impact, Severity

DAY_S = 86_400.0

S1, S2, S3 = Severity.S1, Severity.S2, Severity.S3


class Lasts(Enum):
    """How a fault ends."""

    WHILE_TRUE = "while_true"  # whoever found it says when it is over; after a restart it must be found again
    AGES_OUT = "ages_out"  # something that happened: it goes by itself when it has not happened again for a while
    UNTIL_CLEARED = "until_cleared"  # stays over restarts until it is expressly reported as over


class FaultKind(Struct, frozen=True):
    """One entry. ``text`` says what is so, ``what_to_do`` tells a person; ``ages_out_s`` goes with AGES_OUT."""

    code: str
    severity: Severity
    impact: Impact
    text: str
    what_to_do: str
    lasts: Lasts = Lasts.WHILE_TRUE
    ages_out_s: float = DAY_S
