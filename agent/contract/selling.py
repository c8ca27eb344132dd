"""Who is selling on this terminal: what payment applications say of themselves, and what follows for operations.

The wire forms belong to ``payment.sock`` (``app.status``, ``sale.…``, ``terminal.state``); `Selling` is what the room
that keeps leases and statuses tells the room that admits operations. Source: the product's contract, "Sockets".
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

STALE_AFTER_S: Final = 90.0
"""An application's status counts for so long; then the application is silent."""
START_GRACE_S: Final = 180.0
"""After a start the terminal counts as in sale until every configured application has reported, at most so long."""

Count = Annotated[int, Meta(ge=0, le=1_000_000)]
BatchNo = Annotated[str, Meta(pattern=r"\A[0-9]{6}\Z")]


class AppStatus(Struct, frozen=True, forbid_unknown_fields=True):
    """``app.status``: all six are required. ``batch_no`` is null before the first sign-in."""

    ready: bool
    signed_in: bool
    batch_no: BatchNo | None
    pending_reversals: Count
    unknown_results: Count
    saf_count: Count


class Selling(Struct, frozen=True):
    """What operations must know of sales, at one moment.

    Attributes:
        lease_left_s: For how long the longest live sale lease still runs; None when no lease lives.
        start_left_s: After a start: at most so long until the terminal no longer counts as in sale for want of a first
            report; None once every configured application has reported or the time is over.
        silent_s: Age of the youngest status that is stale, in seconds: no application has been silent for less. None
            when every known application speaks, or there is none. Infinite when those that are silent are configured
            ones that never reported within their grace.
        pending_reversals, unknown_results, saf_count: Sums of the latest statuses, stale ones included.
    """

    lease_left_s: float | None = None
    start_left_s: float | None = None
    silent_s: float | None = None
    pending_reversals: int = 0
    unknown_results: int = 0
    saf_count: int = 0


NOBODY_SELLS: Final = Selling()
