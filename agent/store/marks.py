"""How far entries have copies elsewhere: verified in a backup, acknowledged by the collector.

Plain SQL on a connection. Both marks speak of everything up to a sequence, because segments and messages go in order.
What lies after the greater one exists on this medium alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from agent.store import meta

if TYPE_CHECKING:
    from agent.store.database import Connection

_BACKED_UP: Final = "backed_up_upto"
_DELIVERED: Final = "delivered_upto"


class Marks(Struct, frozen=True):
    """Sequences up to which every entry is in a verified backup, and with the collector; 0: none."""

    backed_up: int
    delivered: int

    @property
    def protected(self) -> int:
        """Up to here every entry has a copy on another medium or in another place."""
        return max(self.backed_up, self.delivered)


def marks(db: Connection) -> Marks:
    """Both marks as they stand."""
    return Marks(int(meta.get(db, _BACKED_UP) or 0), int(meta.get(db, _DELIVERED) or 0))


def set_backed_up(db: Connection, upto: int) -> None:
    """Every entry up to ``upto`` is in a verified backup of at least one target (and nothing after it is)."""
    meta.put(db, _BACKED_UP, str(upto))


def set_delivered(db: Connection, upto: int) -> None:
    """The collector has acknowledged every entry up to ``upto`` (less than before only by its own word)."""
    meta.put(db, _DELIVERED, str(upto))
