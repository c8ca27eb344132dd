"""What the reader of a keypad leaves for the agent: a small JSON file with three answers and one count. Pure.

It has no room for a key, a name, an order or a time of pressing. ``boottime_s`` is when it was written, in whole
seconds since the machine started. It is written on a fixed grid whatever happens: when it was written says nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

from drivers.pos_keyboard.key_report import KeyReport

SCHEMA = 1
EVERY_S = 10.0
STALE_AFTER_S = 35.0  # three reports missed
LIMIT_BYTES = 512
_COUNT_LIMIT = 1 << 53
_FIELDS = frozenset({"schema", "boottime_s", "readable", "stuck", "chatter", "key_pressed_count"})


class NoReport(Exception):
    """There is no report that means anything; the message says why."""


def report_path(folder: Path, device: str) -> Path:
    """Where the report of ``device`` lies. One folder a reader, so that each unit clears only its own."""
    return folder / device / "report.json"


def encode(report: KeyReport, written_s: float) -> bytes:
    """One line."""
    fields = {
        "schema": SCHEMA,
        "boottime_s": int(written_s),
        "readable": report.readable,
        "stuck": report.stuck,
        "chatter": report.chatter,
        "key_pressed_count": report.key_pressed_count,
    }
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def decode(content: bytes) -> tuple[KeyReport, int]:
    """The report and when it was written, in seconds since the machine started.

    Raises:
        NoReport: Anything else than exactly this form. The content is not repeated.
    """
    try:
        fields = json.loads(content) if len(content) <= LIMIT_BYTES else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or fields.keys() != _FIELDS or fields["schema"] != SCHEMA:
        raise NoReport("what its reader left is no report of this version")
    written_s, count = fields["boottime_s"], fields["key_pressed_count"]
    readable, stuck, chatter = fields["readable"], fields["stuck"], fields["chatter"]
    numbers = all(type(number) is int and 0 <= number < _COUNT_LIMIT for number in (written_s, count))
    answers = type(readable) is bool and all((type(one) is bool) is readable for one in (stuck, chatter))
    if not numbers or not answers or (not readable and (stuck, chatter) != (None, None)):
        raise NoReport("what its reader left contradicts itself")
    return KeyReport(readable, stuck, chatter, count), written_s
