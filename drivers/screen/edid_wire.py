"""EDID, the identification block of a screen: whole or damaged. Pure. What it says of the screen is not read.

Source: VESA E-EDID 1.4: blocks of 128 bytes, each summing to 0 modulo 256; the first begins with a fixed pattern and
tells in byte 126 how many follow (a later standard lets more follow than it tells).
"""

from __future__ import annotations

HEADER = b"\x00\xff\xff\xff\xff\xff\xff\x00"
BLOCK_BYTES = 128
_EXTENSIONS_AT = 126


def edid_problem(edid: bytes) -> str | None:
    """What is wrong with it, or None. An empty one is no EDID, and nothing is wrong with that here."""
    if not edid:
        return None
    if len(edid) % BLOCK_BYTES:
        return f"{len(edid)} bytes are no whole blocks"
    if not edid.startswith(HEADER):
        return "it does not begin as one"
    if len(edid) < (1 + edid[_EXTENSIONS_AT]) * BLOCK_BYTES:
        return "blocks are missing at its end"
    for number, start in enumerate(range(0, len(edid), BLOCK_BYTES)):
        if sum(edid[start : start + BLOCK_BYTES]) % 256:
            return f"the checksum of block {number} is wrong"
    return None


def with_checksum(block: bytes) -> bytes:
    """127 bytes and the one that makes their sum 0; for emulators."""
    return block + bytes((-sum(block) % 256,))
