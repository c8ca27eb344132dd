"""What stands before the first entry in this file: where its chain begins. Plain SQL on a connection.

A new journal begins at its `genesis`; retention moves the beginning on and leaves ``(sequence, hash)`` of the last
entry it removed; a restored or rebuilt journal begins where its own file does, whoever wrote those entries first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from agent.store import chain, meta

if TYPE_CHECKING:
    from agent.store.database import Connection

_KEY: Final = "journal_anchor"  # in table meta: "<sequence>:<hash as 64 hexadecimal digits>"


class Anchor(NamedTuple):
    """``sequence``: of the entry before the first one here, 0 for a whole journal; ``hash``: the chain there."""

    sequence: int
    hash: bytes


def anchor(db: Connection) -> Anchor:
    """Where the chain of this file begins."""
    sequence, _, digest = (meta.get(db, _KEY) or "").partition(":")
    if not sequence:
        return Anchor(0, chain.genesis(meta.journal_id(db)))
    return Anchor(int(sequence), bytes.fromhex(digest))


def move_anchor(db: Connection, to: Anchor) -> None:
    """Write down a new beginning; a job for the writer, in the commit that removes or adds what was before it."""
    meta.put(db, _KEY, f"{to.sequence}:{to.hash.hex()}")
