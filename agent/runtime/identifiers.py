"""Time-ordered identifiers, UUID version 7 (RFC 9562): random keys make inserts into a large journal much slower."""

from __future__ import annotations

import os
import time
import uuid


def uuid7() -> str:
    """A new UUID version 7 as 36 lower-case characters: 48 bits of Unix milliseconds, then random bits."""
    value = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return str(uuid.UUID(int=value))
