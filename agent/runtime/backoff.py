"""Waiting between attempts: exponential with full jitter, so that a fleet does not return at one instant."""

from __future__ import annotations

import os
from collections.abc import Callable


def drawn_evenly(low: float, high: float) -> float:
    """A number between the two, any as likely as another. Not the module ``random``: that would be 0.1 MB for ever."""
    return low + (high - low) * int.from_bytes(os.urandom(6), "big") / (1 << 48)


class Backoff:
    """Grows from ``first_s`` to ``limit_s``; each wait is drawn evenly between a tenth of the bound and the bound."""

    def __init__(self, first_s: float, limit_s: float, draw: Callable[[float, float], float] = drawn_evenly) -> None:
        self._first_s = first_s
        self._limit_s = limit_s
        self._draw = draw
        self._failures = 0

    def next_s(self) -> float:
        """The wait before the next attempt, in seconds; every call counts as one more failure."""
        bound_s = min(self._limit_s, self._first_s * 2 ** min(self._failures, 32))
        self._failures += 1
        return self._draw(bound_s / 10, bound_s)

    def reset(self) -> None:
        """Start again from ``first_s``. Call it only after the thing was good for a while, not on the first success."""
        self._failures = 0
