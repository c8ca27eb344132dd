"""Waiting between attempts: exponential with full jitter, so that a fleet does not return at one instant."""

from __future__ import annotations

import random


class Backoff:
    """Grows from ``first_s`` to ``limit_s``; each wait is drawn evenly between a tenth of the bound and the bound."""

    def __init__(self, first_s: float, limit_s: float, rng: random.Random | None = None) -> None:
        self._first_s = first_s
        self._limit_s = limit_s
        self._rng = rng or random.Random()  # noqa: S311  # jitter, not a secret
        self._failures = 0

    def next_s(self) -> float:
        """The wait before the next attempt, in seconds; every call counts as one more failure."""
        bound_s = min(self._limit_s, self._first_s * 2 ** min(self._failures, 32))
        self._failures += 1
        return self._rng.uniform(bound_s / 10, bound_s)

    def reset(self) -> None:
        """Start again from ``first_s``. Call it only after the thing was good for a while, not on the first success."""
        self._failures = 0
