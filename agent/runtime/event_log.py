"""Logs are events: a fixed name ``thing.happened`` and fields with units, one JSON object a line on standard error.

The last stage before rendering is redaction: whatever a caller put in, a string that looks like card data leaves as
``[redacted R3]``. It is a net below the guard at the doors, not a replacement for it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, TextIO

import msgspec
import structlog

Redactor = Callable[[str], str]
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str, redact: Redactor, stream: TextIO | None = None) -> None:
    """Set the whole process's logging; call once, before the first part is built.

    Args:
        level: One of debug, info, warning, error.
        redact: Applied to every string of every event, last.
        stream: Where lines go; standard error by default, which systemd hands to the journal.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.ExceptionRenderer(_where),
            _redaction(redact),
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def _where(exc_info: Any) -> str:
    """Class and place of an error, without its arguments: those may hold what a peer sent."""
    kind, _error, traceback = exc_info
    places = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return f"{kind.__name__} at {' > '.join(places[-6:])}"


def _redaction(redact: Redactor) -> structlog.typing.Processor:
    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return redact(value)
        if isinstance(value, dict):
            return {clean(key): clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [clean(item) for item in value]
        return value if isinstance(value, int | float | bool) or value is None else redact(str(value))

    def process(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {key: clean(value) for key, value in event.items()}

    return process


def _render(_logger: Any, _method: str, event: structlog.typing.EventDict) -> str:
    return msgspec.json.encode(event).decode()
