"""How much of the journal is on this medium alone. Plain SQL on a connection; a few look-ups, however long it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from agent.store.marks import Marks, marks

if TYPE_CHECKING:
    from agent.store.sqlite import Connection


class Protection(Struct, frozen=True):
    """The journal's end and its unprotected part.

    Attributes:
        last: The newest entry; 0 while there is none.
        last_ms: When it was stored, in milliseconds since 1970 UTC.
        oldest: The first entry that is on this medium alone; 0 when none is.
        oldest_ms: When that was stored.
    """

    marks: Marks
    last: int
    last_ms: int
    oldest: int
    oldest_ms: int

    @property
    def unprotected(self) -> int:
        """How many entries are on this medium alone; those that are missing here count, too."""
        return self.last - self.oldest + 1 if self.oldest else 0


def protection(db: Connection) -> Protection:
    """As of now."""
    copied = marks(db)
    last = db.execute("SELECT sequence, at FROM entries ORDER BY sequence DESC LIMIT 1").fetchone() or (0, 0)
    oldest = db.execute(
        "SELECT sequence, at FROM entries WHERE sequence > ? ORDER BY sequence LIMIT 1", (copied.protected,)
    ).fetchone() or (0, 0)
    return Protection(copied, *last, *oldest)
