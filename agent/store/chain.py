"""The hash chain over the journal: the exact formula, and its check. Pure; anyone can recompute it from the records.

``hash = SHA-256(previous hash ‖ sequence as 8 bytes big-endian ‖ SHA-256(the record as RFC 8785 JSON))``; before the
first entry stands ``SHA-256(32 zero bytes ‖ journal_id as 36 lower-case ASCII characters)``.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Final, NamedTuple

HASH_BYTES: Final = 32
_JOURNAL_ID_CHARACTERS: Final = 36


def genesis(journal_id: str) -> bytes:
    """The 32 bytes that stand before the first entry of a journal.

    Raises:
        ValueError: ``journal_id`` is not 36 lower-case ASCII characters.
    """
    identifier = journal_id.encode("ascii")
    if len(identifier) != _JOURNAL_ID_CHARACTERS or journal_id != journal_id.lower():
        raise ValueError("a journal id is 36 lower-case ASCII characters")
    return sha256(bytes(HASH_BYTES) + identifier).digest()


def record_digest(canonical_record: bytes) -> bytes:
    """SHA-256 of a record's canonical bytes."""
    return sha256(canonical_record).digest()


def link(previous: bytes, sequence: int, digest: bytes) -> bytes:
    """The hash of the entry ``sequence`` whose record has ``digest``, after an entry with hash ``previous``."""
    return sha256(previous + sequence.to_bytes(8, "big") + digest).digest()


class Entry(NamedTuple):
    """One journal entry as stored: what the check needs of it."""

    sequence: int
    canonical_record: bytes
    hash: bytes


class ChainCheck(NamedTuple):
    """``upto_sequence``: the last entry up to which the chain holds, and its ``hash``; ``missing``: have no entry."""

    intact: bool
    upto_sequence: int
    missing: tuple[int, ...]
    hash: bytes


def verify(entries: Iterable[Entry], anchor_sequence: int, anchor_hash: bytes, *, max_missing: int = 100) -> ChainCheck:
    """Recompute the chain over ``entries`` (in order of sequence) that follow the anchor.

    Args:
        anchor_sequence: The sequence before the first entry expected: 0, or what retention or a restore left.
        anchor_hash: The chain's hash there; for a whole journal its `genesis`.
    """
    expected, chain = anchor_sequence + 1, anchor_hash
    upto = anchor_sequence
    intact = True
    missing: list[int] = []
    for sequence, canonical_record, stored in entries:
        if sequence != expected:
            intact = False
            missing.extend(range(expected, min(sequence, expected + max_missing - len(missing))))
        if intact:
            computed = link(chain, sequence, record_digest(canonical_record))
            intact = computed == stored
            if intact:
                chain, upto = computed, sequence
        expected = sequence + 1
    return ChainCheck(intact, upto, tuple(missing), chain)
