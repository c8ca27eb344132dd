"""Points in time as people write them on a command line → an instant. Pure but for this machine's own time zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

TIME_HELP = (
    "a time: 2026-11-21T10:00:00+08:00, or without offset by this machine's clock, or a date alone (its whole day)"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}"
    r"(?::[0-9]{2}(?:\.[0-9]{3}|\.[0-9]{6})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?"
)


def read_time(text: str, *, end: bool) -> datetime | None:
    """The instant, in UTC; None: ``text`` is none.

    Args:
        end: A date alone means the end of its day, not its beginning.
    """
    text = text.upper()
    whole_day = bool(_DATE.fullmatch(text))
    if not whole_day and not _TIME.fullmatch(text):
        return None
    try:
        at = datetime.fromisoformat(text)
        if whole_day and end:
            at += timedelta(days=1)
        return at.astimezone(UTC)
    except (ValueError, OverflowError):  # no such day or hour; or the first or the last one of the calendar
        return None


def rfc3339(at: datetime) -> str:
    """As the agent takes it: UTC, milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
