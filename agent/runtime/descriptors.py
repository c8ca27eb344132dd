"""How many descriptors this process may have open: its own soft limit raised to what is needed, as far as allowed.

Source: ``getrlimit(2)``, ``RLIMIT_NOFILE``. Raising the hard limit is the unit file's business (``LimitNOFILE=``).
"""

from __future__ import annotations

import resource

import structlog

log = structlog.get_logger("descriptors")


def allow_descriptors(wanted: int) -> int:
    """Have the soft limit be at least ``wanted``; returns how many there may be. Less than wanted is logged."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError) as err:  # a security module may forbid even that
        log.warning("descriptors.not_raised", soft=soft, wanted=wanted, reason=str(err))
        return soft
    if allowed < wanted:
        hint = f"peers beyond that wait at the door; set LimitNOFILE={wanted} in the unit"
        log.warning("descriptors.too_few", allowed=allowed, wanted=wanted, hint=hint)
    return allowed
