"""Storage as it ages: wear of the built-in flash, errors that the file system has counted.

Source: `drivers.host_contract.StorageReading`. Old errors are a warning until the file system is checked; new ones
since the agent's start are a failure. Space, inodes and a read-only volume are the subject ``filesystem``.
"""

from __future__ import annotations

from agent.contract.health import State, Thresholds
from agent.health.probes.host import LINE_RULES, NONE_HERE
from agent.health.rules import Limit, Rule
from agent.health.sample import Sample
from drivers.host_contract import HostReading, StorageReading

CODE = "HST-STO-003"

_WARN_RESERVE, _FAIL_RESERVE = 2, 3  # pre_eol_info: 80 % and 90 % of the reserve blocks are used


def rules(limits: Thresholds) -> tuple[Rule, ...]:
    """How wear and errors are judged."""
    wear = limits.flash_life_used
    text = "at least {:.0f} % of the life of the flash used"
    return (
        *LINE_RULES,
        Rule("reserve_gone", "reserve_gone", State.FAILED, "the flash has hardly any reserve blocks left", CODE),
        Rule(
            "worn_failed",
            "life",
            State.FAILED,
            text,
            CODE,
            limit=Limit(wear.failed_pct, wear.failed_pct - wear.margin_pct),
        ),
        Rule("reserve_low", "reserve_low", State.DEGRADED, "the flash has few reserve blocks left", CODE),
        Rule(
            "worn_degraded",
            "life",
            State.DEGRADED,
            text,
            CODE,
            limit=Limit(wear.degraded_pct, wear.degraded_pct - wear.margin_pct),
        ),
        Rule("new_errors", "new_errors", State.FAILED, "the file system finds errors", "HST-STO-004"),
        Rule("errors", "errors", State.DEGRADED, "the file system has found errors", "HST-STO-004"),
    )


def sample_of(reading: HostReading) -> Sample:
    """A reading as a sample."""
    if not isinstance(reading, StorageReading):
        raise TypeError(f"not a reading of storage: {type(reading).__name__}")
    if not reading.flash and not reading.ext4:
        return NONE_HERE
    life_pct = max((one.life_used_pct for one in reading.flash if one.life_used_pct is not None), default=None)
    reserve = max((one.reserve for one in reading.flash if one.reserve is not None), default=None)
    counted = [one for one in reading.ext4 if one.errors]
    grow = any(one.new_errors for one in counted)
    words = "; ".join(f"{one.errors} errors on {one.name}, {one.new_errors} of them new" for one in counted)
    return Sample(
        True,
        {
            "life": None if life_pct is None else float(life_pct),
            "reserve_low": None if reserve is None else reserve >= _WARN_RESERVE,
            "reserve_gone": None if reserve is None else reserve >= _FAIL_RESERVE,
            "errors": bool(counted) and not grow,
            "new_errors": grow,
        },
        {
            "flash_life_used_pct": life_pct,
            "flash_reserve_state": reserve,
            "ext4_errors": sum(one.errors for one in reading.ext4) if reading.ext4 else None,
            "ext4_warnings": sum(one.warnings for one in reading.ext4) if reading.ext4 else None,
        },
        {"errors": words, "new_errors": words} if words else {},
    )
