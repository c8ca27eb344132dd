"""One look at a subject, before anything is concluded from it. Pure data.

A sample says for each condition what was *seen*: yes, no, a number, or nothing at all. What was not seen is never "no".
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct, field

Seen = bool | float | None
"""Yes or no, a number, or None: this look says nothing about it."""

Value = float | int | str | None
"""A reading for the gauges."""

NOTHING: Mapping[str, str] = MappingProxyType({})


class Sample(Struct, frozen=True):
    """What one look gave.

    Attributes:
        answered: The subject itself gave a valid answer; without one nothing is known about it.
        seen: Condition → what was seen. A condition that is left out counts as its rule's ``absent`` says.
        readings: Values for the gauges, with their unit in the name.
        details: Condition → words for a person, where this look knows them better than the rule does.
    """

    answered: bool
    seen: Mapping[str, Seen]
    readings: Mapping[str, Value] = field(default_factory=lambda: NOTHING)
    details: Mapping[str, str] = field(default_factory=lambda: NOTHING)
