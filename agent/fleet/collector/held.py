"""What the store holds around the parts that arrived: hashes of a journal and its ancestors. Plain SQL in a session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from agent.fleet.collector.database import Session
from agent.fleet.collector.parts import Part
from agent.fleet.collector.rules import Facts, Gap, Head, Journal
from agent.store.chain import genesis

_GENERATIONS: Final = 1_000
"""More than any journal has ancestors: a store in which they go round in a circle ends here."""


class Place(NamedTuple):
    """A journal's row, its terminal's row, and what it is a journal of."""

    number: int
    terminal: int
    kind: str


class Rows:
    """Questions to the store within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def lineage_hashes(self, place: Place, journal: Journal, low: int, high: int) -> dict[int, bytes]:
        """Sequence → hash of what a journal and its ancestors hold, both ends included."""
        number, terminal, kind = place
        found: dict[int, bytes] = {}
        parent, base = journal.parent, journal.base
        for _generation in range(_GENERATIONS):
            if high >= low and high > base:
                found.update(self._hashes(number, max(low, base + 1), high))
            high = min(high, base)
            if parent is None or high < low:
                break
            above = self._session.rows(
                "SELECT id, parent, base FROM journals WHERE terminal = ? AND kind = ? AND journal_id = ?",
                (terminal, kind, parent),
            )
            if not above:
                break
            number, parent, base = above[0]
        return found

    def kin(self, place: Place, low: int, high: int) -> dict[int, dict[bytes, str]]:
        """Sequence → hash → journal_id of the terminal's other journals; before 1 stands each one's genesis."""
        found: dict[int, dict[bytes, str]] = {}
        others = self._session.rows(
            "SELECT id, journal_id, parent FROM journals WHERE terminal = ? AND kind = ? AND id <> ? AND begun = 1"
            " ORDER BY id",
            (place.terminal, place.kind, place.number),
        )
        for other, journal_id, parent in others:
            if low <= 0 and parent is None:
                found.setdefault(0, {})[genesis(journal_id)] = journal_id
            for sequence, hash_ in self._hashes(other, low, high).items():
                found.setdefault(sequence, {})[hash_] = journal_id
        return found

    def origin(self, place: Place, journal: Journal) -> tuple[str, Head] | None:
        """Where the birth message says that the journal begins, as far as its parent is held and agrees."""
        found = self._session.rows(
            "SELECT o.parent, o.base, o.base_hash, j.id, j.parent, j.base, j.upto, j.hash FROM origins o"
            " JOIN journals j ON j.terminal = o.terminal AND j.journal_id = o.parent AND j.kind = ? AND j.begun = 1"
            " WHERE o.terminal = ? AND o.journal_id = ?",
            (place.kind, place.terminal, journal.journal_id),
        )
        if not found:
            return None
        parent, base, base_hash, number, above, above_base, upto, hash_ = found[0]
        if upto < base:
            return parent, Head(upto, bytes(hash_))
        state = Journal(parent, Head(upto, bytes(hash_)), True, above, above_base)
        if self.lineage_hashes(place._replace(number=number), state, base, base).get(base) != bytes(base_hash):
            return None
        return parent, Head(base, bytes(base_hash))

    def parent(self, place: Place, journal: Journal) -> str | None:
        """Whose journal the birth message says that it continues."""
        found = self._session.rows(
            "SELECT parent FROM origins WHERE terminal = ? AND journal_id = ?", (place.terminal, journal.journal_id)
        )
        return str(found[0][0]) if found else None

    def gaps(self, number: int) -> tuple[Gap, ...]:
        """Those of a journal that are not filled."""
        return tuple(
            Gap(first, last, bytes(before), bytes(digest), bytes(after), row)
            for row, first, last, before, digest, after in self._session.rows(
                "SELECT id, from_seq, upto_seq, before_hash, after_digest, after_hash FROM gaps"
                " WHERE journal = ? AND filled_ms IS NULL ORDER BY from_seq",
                (number,),
            )
        )

    def _hashes(self, number: int, low: int, high: int) -> dict[int, bytes]:
        return {
            sequence: bytes(hash_)
            for sequence, hash_ in self._session.rows(
                "SELECT sequence, hash FROM entries WHERE journal = ? AND sequence BETWEEN ? AND ?", (number, low, high)
            )
        }


def facts_for(rows: Rows, place: Place, journal: Journal, parts: Sequence[Part]) -> Facts:
    """Look up only what the rules can come to need: for parts that simply go on, nothing at all."""
    if not parts:
        return Facts()
    low, high = min(part.from_seq for part in parts), max(part.upto_seq for part in parts)
    upto = journal.head.sequence
    repeats = low <= upto
    held = rows.lineage_hashes(place, journal, low, min(high, upto)) if repeats else {}
    gaps = rows.gaps(place.number) if repeats else ()
    if upto > journal.base:
        return Facts(held, gaps=gaps)
    kin = rows.kin(place, low - 1, high)
    if journal.begun:
        return Facts(held, kin, gaps=gaps)
    return Facts(held, kin, rows.origin(place, journal), rows.parent(place, journal), gaps)
