"""Security events as CloudEvents 1.0, published as ``agent/e/security``: counted, rate-limited, without any value."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

EVENT_KIND: Final = "security"
EVENT_TYPE: Final = "pos-agent.security"


class SecurityEventData(Struct, frozen=True, forbid_unknown_fields=True):
    """``count`` of the same ``code`` since the last event of that code; ``causes``: how many for which cause."""

    code: Annotated[str, Meta(pattern=r"^SEC-[A-Z]{3}-\d{3}$")]
    count: Annotated[int, Meta(ge=1)]
    causes: dict[str, int]


class SecurityEvent(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The envelope of CloudEvents 1.0, in structured JSON form."""

    specversion: str = "1.0"
    id: str
    source: str
    type: str = EVENT_TYPE
    subject: str
    time: str
    datacontenttype: str = "application/json"
    data: SecurityEventData
