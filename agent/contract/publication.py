"""One MQTT message that the agent wants sent, before any connection exists."""

from __future__ import annotations

from msgspec import Struct

SOFT_LIMIT_BYTES = 8 * 1024
HARD_LIMIT_BYTES = 64 * 1024


class Publication(Struct, frozen=True):
    """``below`` follows ``pos/v1/<site>/<terminal>/``; ``payload`` is JSON, or empty to clear a retained message."""

    below: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    message_expiry_s: int | None = None
